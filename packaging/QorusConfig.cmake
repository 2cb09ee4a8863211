# find_package(Qorus) gives the targets Qorus::qorus (shared) and Qorus::static. Relocatable: paths follow from this file's.
get_filename_component(_qorus_prefix "${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)

if(NOT TARGET Qorus::qorus)
  add_library(Qorus::qorus SHARED IMPORTED)
  set_target_properties(Qorus::qorus PROPERTIES
    IMPORTED_LOCATION "${_qorus_prefix}/lib/libqorus.so"
    INTERFACE_INCLUDE_DIRECTORIES "${_qorus_prefix}/include")
endif()

if(NOT TARGET Qorus::static)
  find_package(Threads REQUIRED)
  add_library(Qorus::static STATIC IMPORTED)
  set_target_properties(Qorus::static PROPERTIES
    IMPORTED_LOCATION "${_qorus_prefix}/lib/libqorus.a"
    INTERFACE_INCLUDE_DIRECTORIES "${_qorus_prefix}/include"
    INTERFACE_LINK_LIBRARIES "Threads::Threads;${CMAKE_DL_LIBS};gcc_s;util;rt;m")
endif()
