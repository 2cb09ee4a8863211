#!/bin/sh
# Installs the C library: header, shared and static library, pkg-config and CMake files.
#
#     packaging/install.sh [PREFIX]       /usr/local unless given; DESTDIR is put before it
#
# QORUS_FEATURES, "capi" unless set, may be "capi,train": with training, whose declarations the installed pkg-config and CMake files
# then switch on.
#
# QORUS_LIBDIR names a folder with libqorus.so and libqorus.a that are built already; without it they are built here, by
# the one command that also optimizes over crates (cargo leaves that out when it makes the Rust library in the same go).
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
prefix=${1:-/usr/local}
into=${DESTDIR:-}$prefix

if [ -z "${QORUS_LIBDIR:-}" ]; then
    cargo rustc --manifest-path "$root/Cargo.toml" -p qorus --release --features "${QORUS_FEATURES:-capi}" --lib --crate-type cdylib,staticlib \
        --config 'profile.release.lto="thin"'
    QORUS_LIBDIR=$root/target/release
fi

version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' "$root/Cargo.toml")
major=${version%%.*}
rest=${version#*.}
minor=${rest%%.*}
if [ "$major" = 0 ]; then soname=libqorus.so.0.$minor; else soname=libqorus.so.$major; fi

# What the library was built with, for the compiler and as a list of CMake's.
flags=
definitions=
has() {
    if grep -q "$1" "$QORUS_LIBDIR/libqorus.so"; then
        flags="$flags -D$2"
        definitions="$definitions${definitions:+;}$2"
    fi
}
has q_model_train Q_ENABLE_TRAINING
has q_qubo_create Q_ENABLE_QUBO

fill() {
    sed -e "s|@DEFINES@|$flags|g" -e "s|@DEFINITIONS@|$definitions|g" -e "s|@PREFIX@|$prefix|g" -e "s|@VERSION@|$version|g" -e "s|@MAJOR@|$major|g" -e "s|@MINOR@|$minor|g" "$1"
}

mkdir -p "$into/include" "$into/lib/pkgconfig" "$into/lib/cmake/Qorus"
cp "$root/include/qorus.h" "$into/include/qorus.h"
cp "$QORUS_LIBDIR/libqorus.so" "$into/lib/libqorus.so.$version"
ln -sf "libqorus.so.$version" "$into/lib/$soname"
ln -sf "$soname" "$into/lib/libqorus.so"
cp "$QORUS_LIBDIR/libqorus.a" "$into/lib/libqorus.a"
fill "$root/packaging/qorus.pc.in" > "$into/lib/pkgconfig/qorus.pc"
fill "$root/packaging/QorusConfig.cmake.in" > "$into/lib/cmake/Qorus/QorusConfig.cmake"
fill "$root/packaging/QorusConfigVersion.cmake.in" > "$into/lib/cmake/Qorus/QorusConfigVersion.cmake"
echo "installed qorus $version below $into"
