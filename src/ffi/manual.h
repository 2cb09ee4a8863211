/*
 * qorus.h - run language models on CPUs from one mapped GGUF file, in a memory budget stated beforehand.
 *
 * This file is made from the library's sources; do not edit it. It stands alone and compiles as C99 and as C++11.
 *
 * A first program
 * ---------------
 *     q_runtime *runtime = NULL;
 *     q_model *model = NULL;
 *     q_context *context = NULL;
 *     if (q_runtime_create(NULL, &runtime) != Q_OK ||                                  // threads and kernels
 *         q_model_load(runtime, path, strlen(path), NULL, &model) != Q_OK ||           // maps the file
 *         q_context_create(model, NULL, &context) != Q_OK) {                           // reserves all memory
 *         char why[513];
 *         q_last_error(why, sizeof why, NULL);
 *         ...
 *     }
 *
 * From there either q_generator_run, which does everything from tokens to text, or q_context_append, q_sampler_sample and
 * q_decoder_push in a loop of one's own. examples/c has both.
 *
 * Linking
 * -------
 * cargo build --release --features capi makes target/release/libqorus.so (soname libqorus.so.0.1; its number changes when
 * the ABI breaks) and libqorus.a. With the shared library: cc main.c -Iinclude -Ltarget/release -lqorus. The static one
 * also takes -lpthread -ldl -lm; prefer the shared one, which exports nothing but the q_* names below. The library must be
 * built with panic=unwind, the default: with panic=abort a defect that would be Q_ERR_INTERNAL ends the process.
 * Compare q_abi_version() with Q_ABI_VERSION where the library may be another than the one compiled against.
 *
 * Memory
 * ------
 * q_model_plan says from a file's metadata alone how many bytes will be taken, by class. Loading a model and creating
 * a context, sampler, generator, decoder or batch reserves them. After that no call on these allocates: not for a token, a
 * prompt or a saved state. The exceptions are named: an error may allocate while it is put into words, and so does a log
 * record; the tokenizer allocates for a single word longer than a few kilobytes. A budget that is too small is
 * Q_ERR_BUDGET, and q_last_error says how much was needed. When a file or an argument asks for more memory than the system
 * has, that is an error code and no abort.
 *
 * Ownership
 * ---------
 * A handle comes out through the last parameter (before the result struct of calls that have one), and only on success;
 * otherwise the place is left alone. Only q_*_free frees it, and q_*_free(NULL) does nothing. Contexts keep their model
 * alive and models their runtime, so the order in which they are freed does not matter. A handle that was freed must
 * not be used again: that is noticed by luck only.
 *
 * Pointers that are passed in are read during the call and not kept, except where a function says so. Text is a pointer and
 * a length in bytes, UTF-8, and needs no NUL at its end.
 *
 * Results of unknown length go to a buffer, which is followed by its capacity and by `needed`. When the capacity is too
 * small the call returns Q_ERR_BUFFER_TOO_SMALL, leaves the buffer alone and sets *needed. So a first call with NULL and 0
 * asks for the length. Unless a function says otherwise `needed` may be NULL.
 *
 * Parameter structs begin with their size. Fill them with their q_*_params_init(&p, sizeof p), then change fields. Later
 * versions append fields; a struct of an older version gets defaults for those it lacks, one of a newer version is
 * accepted if the fields that this library does not know are 0, and is Q_ERR_ABI otherwise. NULL means all defaults. Structs
 * of results are followed by sizeof theirs.
 *
 * Errors
 * ------
 * Every call that can fail returns a q_error_code, Q_OK being 0. q_last_error gives the reason of this thread's last failure
 * in one sentence that names the file, the tensor, the number, what was expected and what to do. No input, file or
 * argument makes the library abort, print or leave a mess: on an error things are as before the call. Q_ERR_INTERNAL
 * is a defect of the library; the handle is then poisoned, and every further use but q_*_free is Q_ERR_STATE. NULL
 * for a pointer that is needed is Q_ERR_INVALID_ARGUMENT, and so is a handle of the wrong type.
 *
 * Threads
 * -------
 * No call keeps state outside of handles, but for the thread's message. Different handles may be used from different threads
 * at once. q_runtime, q_model, q_tokenizer and q_qubo may be shared by any number of threads; of any other handle only one call
 * may run at a time, and a second one, also from a callback of the first, is Q_ERR_STATE. q_context_cancel and
 * q_qubo_solver_cancel may be called at any time. No handle may be used while another thread frees it. Contexts of one runtime take turns at its threads;
 * give each a runtime of its own for calls that are to run side by side. Threads start in q_runtime_create and end with
 * the last handle that holds the runtime. A process that forked must not use handles made before.
 *
 * Callbacks are silent by default, run on the thread that made the call, and must neither unwind nor longjmp.
 *
 * Files
 * -----
 * A model's file is mapped, not read: it must not be cut or rewritten while the model lives. A changed size or date is
 * noticed at the next call (Q_ERR_FILE_CHANGED). A file that is cut during a call ends the process with SIGBUS, as with
 * every mapping; q_model_params.copy = 1 has no such race. Replacing the file by renaming another onto its name is safe.
 *
 * Tensors and networks of one's own
 * ---------------------------------
 * q_tensor is no handle but a plain struct: a view of memory in a q_arena or of the host's own, which it must outlive.
 * The q_tensor_* operations compute on them with the runtime's kernels and threads; q_tensor_convert quantizes and
 * dequantizes; q_tensor_to_dlpack and back exchange them with other libraries. A q_builder makes a model of layers, one call
 * each, from weights in tensors, and q_model_forward runs it, or any other model. examples/c/network.c has all of it.
 *
 * Training
 * --------
 * A library built with --features capi,train has more, declared where Q_ENABLE_TRAINING is defined before this header is
 * included (pkg-config and CMake do it). Losses, clipping and a q_optimizer work on tensors of the host's own. A q_trainer
 * belongs to a context and holds what learns of its model, which stays as it is: q_model_train does the whole loop on batches that
 * a callback gives; q_model_forward_train, any loss, q_model_backward and q_trainer_step are its parts. q_trainer_publish lets
 * the context compute with the weights of the moment, q_trainer_export writes them as a GGUF file. A model from nothing is one that a
 * q_builder makes of random weights. Gradients are those of mean losses: 2 (p - t) / N of squares, (softmax - onehot) / count of
 * cross-entropy. All memory is reserved by the calls that create and bind; no pass and no step allocates.
 * examples/c/train_table.c and train_text.c have all of it.
 *
 * Problems over zeros and ones
 * ----------------------------
 * A library built with --features capi,qubo solves quadratic problems, declared where Q_ENABLE_QUBO is defined. A q_qubo is built from
 * triplets, from a dense matrix or from a file; q_qubo_plan says what solving it takes, q_qubo_solver_create reserves that, and
 * q_qubo_solver_run solves until sweeps, a time limit, a target, a callback or q_qubo_solver_cancel end it, allocating
 * nothing. Samples then lie in the solver, the best first. No runtime is needed: a solver has threads of its own.
 * examples/c/qubo.c has all of it.
 *
 * Bits
 * ----
 *
 * The same input gives the same bits, whatever the number of threads, the size of batches and what other sequences share
 * them, at one q_isa level on one machine; see q_runtime_params.isa.
 */
