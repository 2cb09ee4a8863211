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


#ifndef QORUS_H
#define QORUS_H

#include <stddef.h>
#include <stdint.h>

/**
 * The ABI this header describes: see q_abi_version.
 */
#define Q_ABI_VERSION 1

/**
 * No token.
 */
#define Q_TOKEN_NONE 4294967295

/**
 * Flag of q_tokenizer_encode: what the file says goes around a text is added, BOS before it, EOS behind it.
 */
#define Q_ENCODE_BOS 1

/**
 * Flag of q_tokenizer_encode: special text such as "<|im_end|>" is read as its token. Do not set it for text of users.
 */
#define Q_ENCODE_SPECIAL 2

/**
 * Flag of q_tokenizer_decode, q_tokenizer_piece and q_decoder_create: control tokens are written out as text.
 */
#define Q_DECODE_SPECIAL 1

/**
 * Flag of q_decoder_create: the tokens continue other text, so a leading space counts.
 */
#define Q_DECODE_CONTINUES 2

/**
 * Flag of q_chat_render: the text ends where the assistant's answer begins.
 */
#define Q_CHAT_PROMPT 1

/**
 * The most dimensions of a tensor.
 */
#define Q_MAX_DIMS 6

/**
 * Flag of a tensor: its memory may not be written.
 */
#define Q_TENSOR_READONLY 1

#if defined(Q_ENABLE_TRAINING)
/**
 * Flag of q_optimizer_bind: the tensors have neither weight decay nor L1 penalty, as norms and biases usually have none.
 */
#define Q_OPTIM_NO_DECAY 1

/**
 * The type of q_trainer_export that leaves each tensor in the type it had.
 */
#define Q_TYPE_AS_IS UINT32_MAX
#endif

/**
 * What a call returns: Q_OK, or what kind of failure it was. Numbers are never reused.
 */
enum q_error_code
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * Success.
     */
    Q_OK = 0,
    /**
     * An argument is outside its range, or NULL.
     */
    Q_ERR_INVALID_ARGUMENT = 1,
    /**
     * The system has no memory left.
     */
    Q_ERR_OUT_OF_MEMORY = 2,
    /**
     * A budget or limit is smaller than what the plan needs.
     */
    Q_ERR_BUDGET = 3,
    /**
     * The operating system refused; the message has its reason.
     */
    Q_ERR_IO = 4,
    /**
     * The file is damaged or not what it claims to be.
     */
    Q_ERR_FORMAT = 5,
    /**
     * The file is well-formed but asks for what this library does not do.
     */
    Q_ERR_UNSUPPORTED = 6,
    /**
     * Something named is not there: a file, a tensor, a key.
     */
    Q_ERR_NOT_FOUND = 7,
    /**
     * The buffer is too small; `needed` says how much it takes.
     */
    Q_ERR_BUFFER_TOO_SMALL = 8,
    /**
     * The call does not fit the object's state.
     */
    Q_ERR_STATE = 9,
    /**
     * The call was cancelled.
     */
    Q_ERR_CANCELLED = 10,
    /**
     * A mapped file changed under its model.
     */
    Q_ERR_FILE_CHANGED = 11,
    /**
     * The context has no room for that many tokens.
     */
    Q_ERR_CONTEXT_FULL = 12,
    /**
     * A defect of this library; the object can only be freed.
     */
    Q_ERR_INTERNAL = 13,
    /**
     * A parameter struct of a version that is not known, or that was not initialized.
     */
    Q_ERR_ABI = 14,
    /**
     * Shapes or types do not go together.
     */
    Q_ERR_SHAPE = 15,
    /**
     * The CPU lacks the instruction set asked for.
     */
    Q_ERR_ISA = 16,
    /**
     * A gradient, a loss or a coefficient is NaN or infinite.
     */
    Q_ERR_NOT_FINITE = 17,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum q_error_code q_error_code;
#else
typedef int32_t q_error_code;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * Levels of instruction sets; a higher one includes the lower ones.
 */
enum q_isa
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * What the environment variable QORUS_ISA names (scalar, avx2, avxvnni, avx512 or avx512bf16), or else the highest the CPU has.
     */
    Q_ISA_AUTO = 0,
    /**
     * Portable code: the definition of every result.
     */
    Q_ISA_SCALAR = 1,
    /**
     * AVX2, FMA and F16C.
     */
    Q_ISA_AVX2 = 2,
    /**
     * AVX-512 F, BW, DQ, VL and VNNI.
     */
    Q_ISA_AVX512 = 3,
    /**
     * AVX2 with AVX-VNNI, between the two.
     */
    Q_ISA_AVXVNNI = 4,
    /**
     * AVX-512 with BF16, the highest.
     */
    Q_ISA_AVX512BF16 = 5,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum q_isa q_isa;
#else
typedef uint32_t q_isa;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * Levels of the log.
 */
enum q_log_level
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * Something in a file was ignored.
     */
    Q_LOG_WARN = 1,
    /**
     * What was loaded and reserved.
     */
    Q_LOG_INFO = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum q_log_level q_log_level;
#else
typedef uint32_t q_log_level;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * How elements are stored. The numbers are those of GGUF files (ggml_type).
 */
enum q_type
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * 32-bit floats.
     */
    Q_TYPE_F32 = 0,
    /**
     * IEEE half floats.
     */
    Q_TYPE_F16 = 1,
    /**
     * Blocks of 32: 4-bit integers and a scale.
     */
    Q_TYPE_Q4_0 = 2,
    /**
     * Blocks of 32: 4-bit integers, a scale and a minimum.
     */
    Q_TYPE_Q4_1 = 3,
    /**
     * Blocks of 32: 5-bit integers and a scale.
     */
    Q_TYPE_Q5_0 = 6,
    /**
     * Blocks of 32: 5-bit integers, a scale and a minimum.
     */
    Q_TYPE_Q5_1 = 7,
    /**
     * Blocks of 32: 8-bit integers and a scale.
     */
    Q_TYPE_Q8_0 = 8,
    /**
     * Blocks of 256, 2.6 bits an element.
     */
    Q_TYPE_Q2_K = 10,
    /**
     * Blocks of 256, 3.4 bits an element.
     */
    Q_TYPE_Q3_K = 11,
    /**
     * Blocks of 256, 4.5 bits an element.
     */
    Q_TYPE_Q4_K = 12,
    /**
     * Blocks of 256, 5.5 bits an element.
     */
    Q_TYPE_Q5_K = 13,
    /**
     * Blocks of 256, 6.6 bits an element.
     */
    Q_TYPE_Q6_K = 14,
    /**
     * Blocks of 256 from a codebook, 2.1 bits an element.
     */
    Q_TYPE_IQ2_XXS = 16,
    /**
     * Likewise, 2.3 bits.
     */
    Q_TYPE_IQ2_XS = 17,
    /**
     * Likewise, 3.1 bits.
     */
    Q_TYPE_IQ3_XXS = 18,
    /**
     * Likewise, 1.6 bits.
     */
    Q_TYPE_IQ1_S = 19,
    /**
     * Blocks of 32: 4-bit numbers of a table, and a scale.
     */
    Q_TYPE_IQ4_NL = 20,
    /**
     * Blocks of 256 from a codebook, 3.4 bits an element.
     */
    Q_TYPE_IQ3_S = 21,
    /**
     * Likewise, 2.6 bits.
     */
    Q_TYPE_IQ2_S = 22,
    /**
     * Blocks of 256: 4-bit numbers of a table, and scales.
     */
    Q_TYPE_IQ4_XS = 23,
    /**
     * 8-bit integers.
     */
    Q_TYPE_I8 = 24,
    /**
     * 16-bit integers.
     */
    Q_TYPE_I16 = 25,
    /**
     * 32-bit integers.
     */
    Q_TYPE_I32 = 26,
    /**
     * 64-bit integers.
     */
    Q_TYPE_I64 = 27,
    /**
     * 64-bit floats.
     */
    Q_TYPE_F64 = 28,
    /**
     * Blocks of 256 from a codebook, 1.8 bits an element.
     */
    Q_TYPE_IQ1_M = 29,
    /**
     * The upper half of 32-bit floats.
     */
    Q_TYPE_BF16 = 30,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum q_type q_type;
#else
typedef uint32_t q_type;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * Which embeddings a context keeps.
 */
enum q_pooling
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * None.
     */
    Q_POOLING_NONE = 0,
    /**
     * The mean of a sequence's rows.
     */
    Q_POOLING_MEAN = 1,
    /**
     * A sequence's last row.
     */
    Q_POOLING_LAST = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum q_pooling q_pooling;
#else
typedef uint32_t q_pooling;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * Why a generation ended.
 */
enum q_outcome
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * The model said so.
     */
    Q_OUTCOME_END = 0,
    /**
     * A stop string appeared; it is not part of the text.
     */
    Q_OUTCOME_STOP = 1,
    /**
     * As many tokens as were asked for.
     */
    Q_OUTCOME_LENGTH = 2,
    /**
     * The context is full.
     */
    Q_OUTCOME_CONTEXT_FULL = 3,
    /**
     * The callback said so.
     */
    Q_OUTCOME_HALTED = 4,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum q_outcome q_outcome;
#else
typedef uint32_t q_outcome;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * Activation functions.
 */
enum q_activation
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * max(x, 0)
     */
    Q_ACTIVATION_RELU = 0,
    /**
     * x / (1 + exp(-x))
     */
    Q_ACTIVATION_SILU = 1,
    /**
     * GELU in its tanh form.
     */
    Q_ACTIVATION_GELU = 2,
    /**
     * GELU by the normal distribution's integral.
     */
    Q_ACTIVATION_GELU_ERF = 3,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum q_activation q_activation;
#else
typedef uint32_t q_activation;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * Which elements of a head a rotary embedding pairs.
 */
enum q_rope_style
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * No rotary embedding.
     */
    Q_ROPE_NONE = 0,
    /**
     * Elements 2i and 2i + 1 (llama).
     */
    Q_ROPE_NORM = 1,
    /**
     * Elements i and i + half (GPT-NeoX).
     */
    Q_ROPE_NEOX = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum q_rope_style q_rope_style;
#else
typedef uint32_t q_rope_style;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

#if defined(Q_ENABLE_TRAINING)
/**
 * How weights follow their gradients g; w -= learning_rate * what is said.
 */
enum q_optimizer_type
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * Gradient descent: g, or with a momentum b = momentum * b + g. Decay is added to the gradient.
     */
    Q_OPTIM_SGD = 0,
    /**
     * Adam: m / (sqrt(v) + epsilon), both moments corrected for their start at 0. Decay is added to the gradient.
     */
    Q_OPTIM_ADAM = 1,
    /**
     * Adam whose decay bypasses the moments: + weight_decay * w.
     */
    Q_OPTIM_ADAMW = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum q_optimizer_type q_optimizer_type;
#else
typedef uint32_t q_optimizer_type;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * Losses.
 */
enum q_loss_type
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * The squares of the differences.
     */
    Q_LOSS_MSE = 0,
    /**
     * The cross-entropy of logits: -log(softmax(logits)[target]).
     */
    Q_LOSS_CROSSENTROPY = 1,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum q_loss_type q_loss_type;
#else
typedef uint32_t q_loss_type;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * How the losses of a batch become one.
 */
enum q_reduction
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * Their mean: of squares over all elements, of cross-entropy over the rows that count, by their classes' weights.
     */
    Q_REDUCTION_MEAN = 0,
    /**
     * Their sum.
     */
    Q_REDUCTION_SUM = 1,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum q_reduction q_reduction;
#else
typedef uint32_t q_reduction;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * How the learning rate falls after the warm-up.
 */
enum q_schedule
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * It stays.
     */
    Q_SCHEDULE_CONSTANT = 0,
    /**
     * In a straight line to the floor.
     */
    Q_SCHEDULE_LINEAR = 1,
    /**
     * By half a cosine to the floor.
     */
    Q_SCHEDULE_COSINE = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum q_schedule q_schedule;
#else
typedef uint32_t q_schedule;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * Why q_model_train ended.
 */
enum q_train_end
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * All steps are done.
     */
    Q_TRAIN_DONE = 0,
    /**
     * q_trainer_stop, or `on_step`, said so.
     */
    Q_TRAIN_STOPPED = 1,
    /**
     * Validations did not improve for as long as `patience` lasts.
     */
    Q_TRAIN_NO_IMPROVEMENT = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum q_train_end q_train_end;
#else
typedef uint32_t q_train_end;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * How an adapter changes its matrices.
 */
enum q_adapter_kind
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * W + alpha / rank * B A
     */
    Q_ADAPTER_LORA = 0,
    /**
     * W + alpha / sqrt(rank) * B A
     */
    Q_ADAPTER_RSLORA = 1,
    /**
     * As Q_ADAPTER_LORA, each row brought to a length of its own.
     */
    Q_ADAPTER_DORA = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum q_adapter_kind q_adapter_kind;
#else
typedef uint32_t q_adapter_kind;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus
#endif

#if defined(Q_ENABLE_QUBO)
/**
 * Which values are good.
 */
enum q_qubo_sense
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * Small ones.
     */
    Q_QUBO_MINIMIZE = 0,
    /**
     * Great ones.
     */
    Q_QUBO_MAXIMIZE = 1,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum q_qubo_sense q_qubo_sense;
#else
typedef uint32_t q_qubo_sense;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * Forms of files.
 */
enum q_qubo_format
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * What the file looks like, where that leaves no doubt.
     */
    Q_QUBO_FORMAT_GUESS = 0,
    /**
     * Max-Cut as in Gset (rudy); maximises the weight of the cut.
     */
    Q_QUBO_FORMAT_GSET = 1,
    /**
     * OR-Library; maximises.
     */
    Q_QUBO_FORMAT_ORLIB = 2,
    /**
     * qbsolv; minimises, as those that follow.
     */
    Q_QUBO_FORMAT_QBSOLV = 3,
    /**
     * dimod's coordinates, with their header.
     */
    Q_QUBO_FORMAT_COO = 4,
    /**
     * dimod's JSON.
     */
    Q_QUBO_FORMAT_BQM = 5,
    /**
     * bqpjson.
     */
    Q_QUBO_FORMAT_BQPJSON = 6,
    /**
     * The JSON of Azure's quantum-inspired optimization.
     */
    Q_QUBO_FORMAT_QIO = 7,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum q_qubo_format q_qubo_format;
#else
typedef uint32_t q_qubo_format;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * Kinds of graphs that couplings make.
 */
enum q_qubo_structure
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * No couplings.
     */
    Q_QUBO_FREE = 0,
    /**
     * Couplings are kept as a matrix.
     */
    Q_QUBO_DENSE = 1,
    /**
     * Few neighbours each, and a long way from one end to the other.
     */
    Q_QUBO_GRID = 2,
    /**
     * Any other.
     */
    Q_QUBO_SPARSE = 3,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum q_qubo_structure q_qubo_structure;
#else
typedef uint32_t q_qubo_structure;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * Ways of solving.
 */
enum q_qubo_method
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * A portfolio chosen by size, density and structure, which goes on to the next method when one stops improving.
     */
    Q_QUBO_AUTO = 0,
    /**
     * Simulated annealing.
     */
    Q_QUBO_ANNEAL = 1,
    /**
     * One-flip tabu search.
     */
    Q_QUBO_TABU = 2,
    /**
     * Steepest descent from many starts.
     */
    Q_QUBO_DESCENT = 3,
    /**
     * Parallel tempering, with cluster moves on grids.
     */
    Q_QUBO_TEMPERING = 4,
    /**
     * Population annealing.
     */
    Q_QUBO_POPULATION = 5,
    /**
     * Path-integral (simulated quantum) annealing.
     */
    Q_QUBO_QUANTUM = 6,
    /**
     * Tabu search over the paths between the best.
     */
    Q_QUBO_RELINK = 7,
    /**
     * Every assignment: up to 30 variables.
     */
    Q_QUBO_ENUMERATE = 8,
    /**
     * QAOA on a simulated state: up to 22 variables.
     */
    Q_QUBO_QAOA = 9,
    /**
     * The solver that q_qubo_solver_register gave.
     */
    Q_QUBO_HOST = 10,
    /**
     * Annealing of what good assignments disagree about.
     */
    Q_QUBO_CONTRACT = 11,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum q_qubo_method q_qubo_method;
#else
typedef uint32_t q_qubo_method;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * How the inverse temperature goes from its first value to its last.
 */
enum q_qubo_schedule
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * By equal factors.
     */
    Q_QUBO_GEOMETRIC = 0,
    /**
     * By equal steps.
     */
    Q_QUBO_LINEAR = 1,
    /**
     * The host's own `betas`, each for an equal number of sweeps.
     */
    Q_QUBO_CUSTOM = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum q_qubo_schedule q_qubo_schedule;
#else
typedef uint32_t q_qubo_schedule;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * Why a run ended.
 */
enum q_qubo_end
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * All reads and sweeps are done.
     */
    Q_QUBO_SWEEPS = 0,
    /**
     * The time limit.
     */
    Q_QUBO_TIME = 1,
    /**
     * The target was reached.
     */
    Q_QUBO_TARGET = 2,
    /**
     * The callback or q_qubo_solver_cancel.
     */
    Q_QUBO_CANCELLED = 3,
    /**
     * No assignment is better.
     */
    Q_QUBO_PROVEN = 4,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum q_qubo_end q_qubo_end;
#else
typedef uint32_t q_qubo_end;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus
#endif

/**
 * An adapter (LoRA, rsLoRA or DoRA) in its places on a model: immutable, on any number of contexts of that model at once, each with its
 * own weight.
 */
typedef struct q_adapter q_adapter;

/**
 * Memory of a fixed budget. One call at a time.
 */
typedef struct q_arena q_arena;

/**
 * Tokens to compute together. One call at a time.
 */
typedef struct q_batch q_batch;

/**
 * A model under construction. One call at a time.
 *
 * Begin with q_builder_rows or q_builder_embedding, add layers, end with q_builder_finish. Weights are copied: they are
 * q_tensor of any storage type that products have, [out][in]; norms and biases are tensors of one dimension, of any
 * type that can be read. A call that fails leaves the builder as it was.
 */
typedef struct q_builder q_builder;

/**
 * A chat template. Any number of threads at once.
 */
typedef struct q_chat q_chat;

/**
 * Sequences that are being computed. One call at a time; q_context_cancel from any thread.
 */
typedef struct q_context q_context;

/**
 * Turns tokens into text as they come, in whole characters. One call at a time.
 */
typedef struct q_decoder q_decoder;

/**
 * A sampler, a decoder and stop strings. One call at a time.
 */
typedef struct q_generator q_generator;

/**
 * A model: immutable, shared by any number of contexts and threads.
 */
typedef struct q_model q_model;

#if defined(Q_ENABLE_TRAINING)
/**
 * Changes weights by their gradients. One call at a time.
 *
 * One optimizer serves many tensors. A weight tensor is known by the address of its elements, which must stay as long as it is
 * trained; its moments, and the number of steps it has taken, are its own. q_optimizer_bind reserves the moments at set-up; a
 * tensor that was not bound is bound by its first q_optimizer_step. Steps of bound tensors allocate nothing.
 */
typedef struct q_optimizer q_optimizer;
#endif

#if defined(Q_ENABLE_QUBO)
/**
 * A problem: offset + sum a_i x_i + sum b_ij x_i x_j over x of zeros and ones. Immutable; any number of threads may share it.
 */
typedef struct q_qubo q_qubo;

/**
 * A solver of one problem, with all its memory. One call at a time; q_qubo_solver_cancel from any thread.
 */
typedef struct q_qubo_solver q_qubo_solver;
#endif

/**
 * Threads and kernels, shared by any number of models.
 */
typedef struct q_runtime q_runtime;

/**
 * Chooses tokens, and remembers recent ones. One call at a time.
 */
typedef struct q_sampler q_sampler;

/**
 * The tokenizer of one model. Any number of threads at once.
 */
typedef struct q_tokenizer q_tokenizer;

#if defined(Q_ENABLE_TRAINING)
/**
 * Writable copies of what is trained of a model, their gradients, the moments of an optimizer, and the memory of one pass.
 *
 * It belongs to the context it was made for, which has one at most; the model stays as it is. One call at a time, but for
 * q_trainer_pause, q_trainer_resume and q_trainer_stop, which are for other threads and for callbacks.
 */
typedef struct q_trainer q_trainer;
#endif

/**
 * Receives one whole record of the log: `len` bytes of UTF-8 without newline or NUL. Called from whichever thread
 * makes the call that is recorded. Must not unwind (C++: must not throw).
 */
typedef void (*q_log_fn)(uint32_t level, const char *text, size_t len, void *user);

/**
 * How a runtime is made. Fill it with q_runtime_params_init first.
 */
typedef struct {
    /**
     * sizeof(q_runtime_params), set by q_runtime_params_init.
     */
    uint32_t size;
    /**
     * Threads that work on a call, the caller's included; 0: one for each core this process may use.
     */
    uint32_t threads;
    /**
     * The highest q_isa to use. One that the CPU lacks is Q_ERR_ISA.
     */
    uint32_t isa;
    /**
     * Records up to this q_log_level go to `log`; 0: none.
     */
    uint32_t log_level;
    /**
     * Bytes that the runtime, its models and their contexts may have reserved at any time, mapped files not counted;
     * 0: no limit. What would go beyond is Q_ERR_BUDGET.
     */
    uint64_t memory_limit;
    /**
     * Receives the log; NULL: nothing does.
     */
    q_log_fn log;
    /**
     * Handed to `log`.
     */
    void *log_user;
    /**
     * 1: keeps each of the runtime's own threads on one core (Linux; elsewhere Q_ERR_UNSUPPORTED). The threads of
     * the host are left alone; the first core this process may use is left to them.
     */
    uint32_t pin;
    /**
     * 1: weights that are stored as BF16 meet activations rounded to bf16, not f32. Other results, still the same ones at
     * every level and for any number of threads; faster on some CPUs that have BF16 (`qorus bench --bf16` tells).
     */
    uint32_t bf16;
} q_runtime_params;

/**
 * How a model is loaded. Fill it with q_model_params_init first.
 */
typedef struct {
    /**
     * sizeof(q_model_params), set by q_model_params_init.
     */
    uint32_t size;
    /**
     * 0: weights stay where they are, in the mapped file or in the host's memory. 1: they are copied first; the file or
     * the memory may then change or vanish.
     */
    uint32_t copy;
} q_model_params;

/**
 * Facts of a model.
 */
typedef struct {
    /**
     * Bytes of this struct that were filled.
     */
    uint32_t size;
    /**
     * Tokens of the vocabulary; 0 if the model takes rows of numbers instead of tokens.
     */
    uint32_t vocab;
    /**
     * Width of the rows that go in; 0 if tokens do.
     */
    uint32_t in_width;
    /**
     * Width of the rows that come out: logits, for a language model.
     */
    uint32_t out_width;
    /**
     * Width of pooled embeddings.
     */
    uint32_t embedding_width;
    /**
     * The longest context of the training; 0 if that is not known.
     */
    uint32_t train_ctx;
    /**
     * 1 if the model has a tokenizer.
     */
    uint32_t has_tokenizer;
    /**
     * 0.
     */
    uint32_t reserved;
    /**
     * Bytes of the mapped file, or of the memory the model was loaded from.
     */
    uint64_t mapped_bytes;
} q_model_info;

/**
 * What a context is made for. Fill it with q_context_params_init first.
 */
typedef struct {
    /**
     * sizeof(q_context_params), set by q_context_params_init.
     */
    uint32_t size;
    /**
     * Positions of each sequence; 0: as many as the model was trained for, at most 4096.
     */
    uint32_t n_ctx;
    /**
     * Tokens that go through the layers together (256); longer batches are taken in parts, with the same results.
     */
    uint32_t n_batch;
    /**
     * Sequences (1).
     */
    uint32_t n_seqs;
    /**
     * The most tokens of a call whose logits can be wanted (1).
     */
    uint32_t n_outputs;
    /**
     * Storage of keys and values: Q_TYPE_F32, Q_TYPE_F16 (the default), Q_TYPE_Q8_0 or Q_TYPE_Q4_0.
     */
    uint32_t kv_type;
    /**
     * A q_pooling (Q_POOLING_NONE).
     */
    uint32_t pooling;
    /**
     * 0.
     */
    uint32_t reserved;
    /**
     * Bytes the plan may come to, mapped weights not counted; 0: no limit.
     */
    uint64_t budget;
    /**
     * The most adapters that are on it at once (0).
     */
    uint32_t adapters;
    /**
     * The greatest rank of an adapter that is put on it, or of one that its trainer publishes (0): see q_adapter_get_info.
     */
    uint32_t adapter_rank;
} q_context_params;

/**
 * Bytes that a model and one context of it take, by class. Every number is exact: it is what set-up reserves.
 */
typedef struct {
    /**
     * Bytes of this struct that were filled.
     */
    uint32_t size;
    /**
     * 0.
     */
    uint32_t reserved;
    /**
     * Tensor data in the mapped file, read-only and shared between processes.
     */
    uint64_t weights_mapped;
    /**
     * Small weights kept as f32: norms and biases.
     */
    uint64_t weights_resident;
    /**
     * Index and working memory of the tokenizer.
     */
    uint64_t tokenizer;
    /**
     * Keys and values of all sequences.
     */
    uint64_t kv_cache;
    /**
     * Activations of one batch, logits, and the state of the context.
     */
    uint64_t activations;
    /**
     * What the backward pass needs of the forward pass.
     */
    uint64_t forward_cache;
    /**
     * Gradients.
     */
    uint64_t gradients;
    /**
     * Moments of the optimizer.
     */
    uint64_t optimizer;
    /**
     * Adapters.
     */
    uint64_t adapters;
    /**
     * Stacks of the worker threads.
     */
    uint64_t threads;
    /**
     * Panels and partial results of the threads, and what one generator reserves (its stop strings apart).
     */
    uint64_t scratch;
    /**
     * The sum of all classes.
     */
    uint64_t total;
    /**
     * The sum of all classes but `weights_mapped`: what a budget must cover.
     */
    uint64_t total_without_mapped;
} q_plan;

/**
 * Facts of a tokenizer.
 */
typedef struct {
    /**
     * Bytes of this struct that were filled.
     */
    uint32_t size;
    /**
     * Tokens of the vocabulary.
     */
    uint32_t vocab;
    /**
     * The token that begins a text, or Q_TOKEN_NONE.
     */
    uint32_t bos;
    /**
     * The token that ends a text, or Q_TOKEN_NONE.
     */
    uint32_t eos;
    /**
     * 1 if BOS goes before a text.
     */
    uint32_t adds_bos;
    /**
     * 1 if EOS goes behind a text.
     */
    uint32_t adds_eos;
} q_tokenizer_info;

/**
 * UTF-8 text of the host: `len` bytes, no NUL needed.
 */
typedef struct {
    /**
     * The bytes.
     */
    const char *data;
    /**
     * Their number.
     */
    size_t len;
} q_text;

/**
 * One message of a conversation.
 */
typedef struct {
    /**
     * "system", "user" or "assistant"; a template may know others.
     */
    q_text role;
    /**
     * What is said.
     */
    q_text content;
} q_message;

/**
 * Facts of an adapter.
 */
typedef struct {
    /**
     * Bytes of this struct that were filled.
     */
    uint32_t size;
    /**
     * The greatest rank of its pairs: what q_context_params.adapter_rank must reach.
     */
    uint32_t rank;
    /**
     * Bytes that it takes in memory, or would.
     */
    uint64_t bytes;
} q_adapter_info;

/**
 * How tokens are chosen: penalty, top-k, top-p, min-p, temperature, in this order. Fill it with q_sampler_params_init
 * first.
 */
typedef struct {
    /**
     * sizeof(q_sampler_params), set by q_sampler_params_init.
     */
    uint32_t size;
    /**
     * Divides the logits before the draw (0.8); 0: always the most probable token.
     */
    float temperature;
    /**
     * Only the k most probable tokens (40); 0: all.
     */
    uint32_t top_k;
    /**
     * Only the most probable tokens that together reach this probability (0.95); 1: all.
     */
    float top_p;
    /**
     * Only tokens at least this fraction as probable as the best one (0.05); 0: all.
     */
    float min_p;
    /**
     * Logits of recent tokens are divided by this when positive and multiplied when negative; 1 (the default): none.
     */
    float repeat_penalty;
    /**
     * How many tokens are recent (64).
     */
    uint32_t repeat_last;
    /**
     * 0.
     */
    uint32_t reserved;
    /**
     * Of the draws: the same seed gives the same tokens (0).
     */
    uint64_t seed;
} q_sampler_params;

/**
 * A generated token and the text that became certain with it.
 */
typedef struct {
    /**
     * The token; Q_TOKEN_NONE for text that was held back when the generation ended.
     */
    uint32_t token;
    /**
     * Natural logarithm of its probability before penalties and filters.
     */
    float log_prob;
    /**
     * Whole characters, without a NUL; valid during the callback. Empty while a character or a possible stop string is
     * unfinished.
     */
    const char *text;
    /**
     * Bytes of `text`.
     */
    size_t text_len;
} q_piece;

/**
 * Receives each token; other than 0 ends the generation. Must not unwind (C++: must not throw), and must not use the
 * context or the generator it is called from, but for q_context_cancel.
 */
typedef int32_t (*q_piece_fn)(const q_piece *piece, void *user);

/**
 * May change the `n` logits before a token is drawn. The same rules as q_piece_fn.
 */
typedef void (*q_logits_fn)(float *logits, size_t n, void *user);

/**
 * What a generation does. Fill it with q_generate_params_init first.
 */
typedef struct {
    /**
     * sizeof(q_generate_params), set by q_generate_params_init.
     */
    uint32_t size;
    /**
     * The sequence that is continued (0).
     */
    uint32_t seq;
    /**
     * The most tokens to generate (256).
     */
    uint32_t max_tokens;
    /**
     * 0.
     */
    uint32_t reserved;
    /**
     * Receives the tokens; may be NULL.
     */
    q_piece_fn on_piece;
    /**
     * May change the logits; may be NULL.
     */
    q_logits_fn on_logits;
    /**
     * Handed to both.
     */
    void *user;
    /**
     * The most tokens that are guessed from the text itself, where its end stood before, and computed together with the one
     * before them (15); at most 64, and one less than `n_outputs` and `n_batch` of the context: a context that keeps one
     * row of logits guesses nothing. It changes the speed, never the tokens.
     */
    uint32_t lookup;
    /**
     * 1 (the default): q_piece.log_prob is filled, which takes a look at the whole vocabulary; 0: it is NaN.
     */
    uint32_t log_probs;
    /**
     * A context of a smaller model with the same vocabulary, which guesses where the text itself does not; NULL (the
     * default): none. It needs a sequence `seq`, whose tokens are replaced. It changes the speed, never the tokens.
     */
    q_context *draft;
} q_generate_params;

/**
 * What a generation did.
 */
typedef struct {
    /**
     * Bytes of this struct that were filled.
     */
    uint32_t size;
    /**
     * A q_outcome.
     */
    uint32_t outcome;
    /**
     * Tokens of the prompt.
     */
    uint32_t prompt_tokens;
    /**
     * Tokens generated.
     */
    uint32_t tokens;
    /**
     * Nanoseconds for the prompt.
     */
    uint64_t prefill_ns;
    /**
     * Nanoseconds for all generated tokens but the first, which comes with the prompt.
     */
    uint64_t decode_ns;
    /**
     * Tokens that were guessed and computed together with the one before them.
     */
    uint32_t proposed;
    /**
     * How many of those were right.
     */
    uint32_t accepted;
} q_generate_result;

/**
 * A view of memory: numbers and a pointer, without an owner. It may be copied freely, and never grows.
 *
 * Dimensions stand as in C arrays, the outermost first. Element (i, j, k) begins at
 * `data + i * strides[0] + j * strides[1] + k * strides[2]`. In block types (Q4_0 ...) the last dimension consists of
 * whole blocks that lie one after another, and its stride is the bytes of a block. Unused entries of dims are 1.
 */
typedef struct {
    /**
     * The first element.
     */
    void *data;
    /**
     * Elements of each dimension.
     */
    uint64_t dims[Q_MAX_DIMS];
    /**
     * Bytes from one index of a dimension to the next.
     */
    uint64_t strides[Q_MAX_DIMS];
    /**
     * A q_type.
     */
    uint32_t type;
    /**
     * Dimensions in use: 1 to 6.
     */
    uint32_t n_dims;
    /**
     * 0 or Q_TENSOR_READONLY.
     */
    uint32_t flags;
    /**
     * 0.
     */
    uint32_t reserved;
} q_tensor;

/**
 * DLDevice: where memory is. 1, 0 is the CPU.
 */
typedef struct {
    /**
     * 1: CPU.
     */
    int32_t device_type;
    /**
     * 0.
     */
    int32_t device_id;
} q_dl_device;

/**
 * DLDataType: what elements are.
 */
typedef struct {
    /**
     * 0: signed integers; 2: floats; 4: bfloat16.
     */
    uint8_t code;
    /**
     * Bits of an element.
     */
    uint8_t bits;
    /**
     * 1.
     */
    uint16_t lanes;
} q_dl_data_type;

/**
 * DLTensor: cast pointers to it as you like, the layout is the same. It owns nothing.
 */
typedef struct {
    /**
     * The memory.
     */
    void *data;
    /**
     * The CPU.
     */
    q_dl_device device;
    /**
     * Dimensions.
     */
    int32_t ndim;
    /**
     * Type of the elements.
     */
    q_dl_data_type dtype;
    /**
     * Elements of each dimension, the outermost first.
     */
    int64_t *shape;
    /**
     * Elements from one index of a dimension to the next; NULL: dense.
     */
    int64_t *strides;
    /**
     * Bytes from `data` to the first element.
     */
    uint64_t byte_offset;
} q_dl_tensor;

/**
 * Causal self-attention. Fill it with q_attention_params_init first, then set heads and weights.
 */
typedef struct {
    /**
     * sizeof(q_attention_params), set by q_attention_params_init.
     */
    uint32_t size;
    /**
     * Query heads.
     */
    uint32_t n_head;
    /**
     * Key and value heads; 0: as many as query heads.
     */
    uint32_t n_kv;
    /**
     * Elements of a head.
     */
    uint32_t head_dim;
    /**
     * A row sees this many positions, its own included; 0: all before it.
     */
    uint32_t window;
    /**
     * Factor of the scores; 0: 1 / sqrt(head_dim).
     */
    float scale;
    /**
     * Soft-capping of the scores; 0: none.
     */
    float softcap;
    /**
     * A q_rope_style (Q_ROPE_NONE).
     */
    uint32_t rope_style;
    /**
     * Elements of a head that turn; 0: all.
     */
    uint32_t rope_dim;
    /**
     * Base of the frequencies (10000).
     */
    float rope_base;
    /**
     * Factor of the positions (1); 1 / n stretches a context n times.
     */
    float rope_scale;
    /**
     * Epsilon of q_norm and k_norm (1e-5).
     */
    float norm_eps;
    /**
     * Queries: [n_head * head_dim][width].
     */
    const q_tensor *q;
    /**
     * Keys: [n_kv * head_dim][width].
     */
    const q_tensor *k;
    /**
     * Values: [n_kv * head_dim][width].
     */
    const q_tensor *v;
    /**
     * Output: [any width][n_head * head_dim].
     */
    const q_tensor *o;
    /**
     * Bias of the queries, or NULL.
     */
    const q_tensor *q_bias;
    /**
     * Bias of the keys, or NULL.
     */
    const q_tensor *k_bias;
    /**
     * Bias of the values, or NULL.
     */
    const q_tensor *v_bias;
    /**
     * Bias of the output, or NULL.
     */
    const q_tensor *o_bias;
    /**
     * RMSNorm of each query head: [head_dim], or NULL.
     */
    const q_tensor *q_norm;
    /**
     * RMSNorm of each key head: [head_dim], or NULL.
     */
    const q_tensor *k_norm;
} q_attention_params;

#if defined(Q_ENABLE_TRAINING)
/**
 * What q_loss_compute computes. Fill it with q_loss_params_init first.
 */
typedef struct {
    /**
     * sizeof(q_loss_params), set by q_loss_params_init.
     */
    uint32_t size;
    /**
     * A q_loss_type (Q_LOSS_CROSSENTROPY).
     */
    uint32_t type;
    /**
     * A q_reduction (Q_REDUCTION_MEAN).
     */
    uint32_t reduction;
    /**
     * The class of rows that do not count (-100).
     */
    int32_t ignored;
    /**
     * The share of the target that is spread evenly over all classes, from 0 (the default) to 1.
     */
    float label_smoothing;
    /**
     * 0.
     */
    uint32_t reserved;
    /**
     * A weight for each class, by which the losses of its rows are multiplied: F32 [classes], or NULL. Not with targets that
     * are distributions.
     */
    const q_tensor *class_weights;
    /**
     * Whose threads and kernels compute; NULL: the calling thread alone. The result is the same to the bit.
     */
    const q_runtime *runtime;
} q_loss_params;

/**
 * What q_loss_compute found.
 */
typedef struct {
    /**
     * Bytes of this struct that were filled.
     */
    uint32_t size;
    /**
     * 0.
     */
    uint32_t reserved;
    /**
     * The loss; 0 when nothing counts.
     */
    double loss;
    /**
     * Rows that counted; for squares, elements.
     */
    uint64_t counted;
    /**
     * What the sum of losses is divided by for a mean: `counted`, unless classes have weights.
     */
    double weight;
    /**
     * Rows whose target had the greatest logit; 0 for squares.
     */
    uint64_t correct;
} q_loss_result;

/**
 * The numbers of an optimizer. Fill it with q_optimizer_params_init first.
 */
typedef struct {
    /**
     * sizeof(q_optimizer_params), set by q_optimizer_params_init.
     */
    uint32_t size;
    /**
     * A q_optimizer_type (Q_OPTIM_ADAMW).
     */
    uint32_t type;
    /**
     * The learning rate (0.001).
     */
    double learning_rate;
    /**
     * Adam: decay of the first moment, from 0 to below 1 (0.9).
     */
    double beta1;
    /**
     * Adam: decay of the second moment, from 0 to below 1 (0.999).
     */
    double beta2;
    /**
     * Adam: what is added to the root of the second moment, above 0 (1e-8).
     */
    double epsilon;
    /**
     * The weight decay (0).
     */
    double weight_decay;
    /**
     * Factor of the L1 penalty, l1 * sum(|w|), whose gradient is added (0).
     */
    double l1_regularization;
    /**
     * SGD: the momentum, from 0 to below 1 (0). It keeps one moment of each weight unless it is 0.
     */
    double momentum;
    /**
     * SGD: 1 for Nesterov's momentum, which looks a step ahead (0).
     */
    uint32_t nesterov;
    /**
     * Q_OPTIM_ADAMW: 8 for moments of 8 bits, in blocks of 256, which take a quarter of the memory; else 32, the default.
     */
    uint32_t moment_bits;
    /**
     * Bytes that the moments of all bound tensors may take together; 0: no limit but the context's budget and the runtime's.
     */
    uint64_t memory_limit;
} q_optimizer_params;

/**
 * A batch for the host to fill: `n_seqs` sequences, whose rows lie one after another. No sequence sees another.
 */
typedef struct {
    /**
     * Bytes of this struct.
     */
    uint32_t size;
    /**
     * Room for so many rows in all.
     */
    uint32_t max_rows;
    /**
     * The most rows of a sequence.
     */
    uint32_t max_len;
    /**
     * Elements of a row that goes in; 0 when tokens do.
     */
    uint32_t in_width;
    /**
     * Elements of a row that comes out: classes, or values.
     */
    uint32_t out_width;
    /**
     * The host writes the number of sequences here.
     */
    uint32_t n_seqs;
    /**
     * The rows of each: room for `max_rows` sequences.
     */
    uint32_t *lens;
    /**
     * The token of each row, or NULL.
     */
    uint32_t *tokens;
    /**
     * [rows][in_width], or NULL.
     */
    float *rows;
    /**
     * The class of each row, with Q_LOSS_CROSSENTROPY; -100, which all are before: the row does not count. For a language model
     * that is the token that follows.
     */
    int32_t *targets;
    /**
     * [rows][out_width], with Q_LOSS_MSE; else NULL.
     */
    float *values;
} q_train_batch;

/**
 * Fills a batch, the `number`-th from 0: the same one whenever it is asked for the same number, so that a run that goes on
 * from a checkpoint is the run that was not stopped. Returns 1 when it did, 0 when there is no more data, a negative number
 * to end the run with Q_ERR_CANCELLED. Must not unwind.
 */
typedef int32_t (*q_train_data_fn)(uint64_t number, q_train_batch *batch, void *user);

/**
 * What a step came to.
 */
typedef struct {
    /**
     * Bytes of this struct that were filled.
     */
    uint32_t size;
    /**
     * 1 if a validation was made after the step.
     */
    uint32_t validated;
    /**
     * Steps done, this one included.
     */
    uint64_t step;
    /**
     * The mean loss of the step's batches.
     */
    double loss;
    /**
     * Share of the counted rows whose target had the greatest logit; 0 for values.
     */
    double accuracy;
    /**
     * The learning rate.
     */
    double learning_rate;
    /**
     * The norm of all gradients before clipping.
     */
    double grad_norm;
    /**
     * Rows that went through the layers.
     */
    uint64_t rows;
    /**
     * Seconds the step took.
     */
    double seconds;
    /**
     * The loss and the accuracy of the validation; NaN without one.
     */
    double validation_loss;
    /**
     * As above.
     */
    double validation_accuracy;
} q_train_report;

/**
 * Called after each step, on the thread that called q_model_train; other than 0 stops, as q_trainer_stop does. `trainer` may be paused
 * and stopped, but is in use otherwise; the context is free (see `publish_every`). Must not unwind.
 */
typedef int32_t (*q_train_step_fn)(const q_train_report *report, void *user);

/**
 * What q_model_train does. Fill it with q_train_params_init first, then set `steps` and `data`.
 */
typedef struct {
    /**
     * sizeof(q_train_params), set by q_train_params_init.
     */
    uint32_t size;
    /**
     * Batches whose gradients make one step; 0 (the default): as many as the trainer was made for.
     */
    uint32_t accumulate;
    /**
     * Steps in all.
     */
    uint64_t steps;
    /**
     * The greatest learning rate (0.001).
     */
    double learning_rate;
    /**
     * The rate at the end (0), where `schedule` falls.
     */
    double floor;
    /**
     * Steps in which the rate rises in a straight line (0).
     */
    uint64_t warmup;
    /**
     * A q_schedule (Q_SCHEDULE_CONSTANT).
     */
    uint32_t schedule;
    /**
     * 1: a step that meets NaN or infinity is left out; 0 (the default): it ends the run with Q_ERR_STATE. Weights are untouched.
     */
    uint32_t skip_faults;
    /**
     * The bound of the norm of all gradients together (1); 0: none.
     */
    double clip_norm;
    /**
     * The bound of each gradient, instead of the norm's; 0 (the default): none.
     */
    double clip_value;
    /**
     * Gives the batches.
     */
    q_train_data_fn data;
    /**
     * Gives the batches of a validation, from number 0 each time until it has no more; NULL: none.
     */
    q_train_data_fn validation;
    /**
     * Is told of each step, or NULL.
     */
    q_train_step_fn on_step;
    /**
     * Handed to all three.
     */
    void *user;
    /**
     * Steps between validations (0: none).
     */
    uint64_t validate_every;
    /**
     * Batches of a validation at most (0: all).
     */
    uint64_t validate_batches;
    /**
     * Validations without improvement after which the run ends (0: it does not).
     */
    uint32_t patience;
    /**
     * Validations without improvement after which the rate is multiplied by `plateau_factor`.
     */
    uint32_t plateau_patience;
    /**
     * From 0 to below 1; 0 (the default): the rate does not depend on validations.
     */
    double plateau_factor;
    /**
     * The folder for checkpoints, which must be there, and its bytes; NULL: none are written.
     */
    const char *folder;
    /**
     * As above.
     */
    size_t folder_len;
    /**
     * Steps between checkpoints (0: only at the end).
     */
    uint64_t save_every;
    /**
     * The checkpoint to go on from, and the bytes of its path; NULL: the run begins at step 0.
     */
    const char *resume;
    /**
     * As above.
     */
    size_t resume_len;
    /**
     * Steps after which the context takes the trained weights, before `on_step` is called, so that it can be used there to try them
     * (0: never). See q_trainer_publish.
     */
    uint64_t publish_every;
    /**
     * Checkpoints that are kept beside the best (2).
     */
    uint32_t keep;
    /**
     * 0.
     */
    uint32_t reserved;
} q_train_params;

/**
 * What a run came to.
 */
typedef struct {
    /**
     * Bytes of this struct that were filled.
     */
    uint32_t size;
    /**
     * A q_train_end.
     */
    uint32_t end;
    /**
     * Steps done.
     */
    uint64_t step;
    /**
     * Steps that were left out.
     */
    uint64_t faults;
    /**
     * The least loss of a validation; NaN without one.
     */
    double best_validation;
} q_train_result;

/**
 * Says of the tensor `name` (`len` bytes, no NUL) whether it is trained: other than 0 if so.
 */
typedef int32_t (*q_trained_fn)(const char *name, size_t len, void *user);

/**
 * What a trainer is made for. Fill it with q_trainer_params_init first.
 */
typedef struct {
    /**
     * sizeof(q_trainer_params), set by q_trainer_params_init.
     */
    uint32_t size;
    /**
     * A q_loss_type: Q_LOSS_CROSSENTROPY (the default) with a class for each row, Q_LOSS_MSE with values. For q_model_train;
     * between q_model_forward_train and q_model_backward any loss can stand.
     */
    uint32_t type;
    /**
     * The most rows (tokens) of a pass (512).
     */
    uint32_t max_rows;
    /**
     * The most rows of a sequence; 0: `max_rows`.
     */
    uint32_t max_len;
    /**
     * Rows whose results are computed together; 0: as many as take 32 MB, and 128 at least of a head that is not stored as F32.
     */
    uint32_t slice;
    /**
     * What is kept of a forward pass for the way back. 0: everything, in f32. 1: the inputs of residual branches, and the rest is
     * computed again: less memory, more time, the same bits. 2: what lies inside layers rounded to bf16.
     */
    uint32_t activations;
    /**
     * The share of the target that is spread evenly over all classes, from 0 (the default) to 1.
     */
    float label_smoothing;
    /**
     * The most batches whose gradients make one step of q_model_train (1).
     */
    uint32_t accumulate;
    /**
     * A weight for each class: F32 [classes], or NULL. Copied.
     */
    const q_tensor *class_weights;
    /**
     * The optimizer's numbers, copied; NULL: AdamW with a weight decay of 0.01. The rate is given with each step; norms and
     * biases have neither decay nor L1 penalty.
     */
    const q_optimizer_params *optimizer;
    /**
     * Decides dropout.
     */
    uint64_t seed;
    /**
     * Bytes that model and trainer may come to, mapped weights not counted; 0: no limit but the context's and the runtime's.
     */
    uint64_t budget;
    /**
     * Which tensors are trained; NULL: all. Called while the trainer is made.
     */
    q_trained_fn trained;
    /**
     * Handed to `trained`.
     */
    void *user;
    /**
     * The rank of an adapter to train; 0 (the default): none. With one, tensors themselves are trained only where `trained` says so.
     */
    uint32_t adapter_rank;
    /**
     * A q_adapter_kind (Q_ADAPTER_LORA).
     */
    uint32_t adapter_kind;
    /**
     * The numerator of the adapter's scale; 0: twice the rank.
     */
    float adapter_alpha;
    /**
     * The probability that an element of the adapter's inputs is dropped, from 0 (the default) to below 1.
     */
    float adapter_dropout;
    /**
     * What the adapter is on, NUL-terminated words with commas between: q, k, v, o, gate, up, down, experts, shared, head; NULL: all but
     * the head. Copied.
     */
    const char *adapter_targets;
    /**
     * 1: the products of frozen blocks round what goes in to 8 bits on the way forward, as inference does; faster, and the way back is
     * that of exact products (0).
     */
    uint32_t eight_bit;
    /**
     * 0.
     */
    uint32_t reserved;
} q_trainer_params;
#endif

#if defined(Q_ENABLE_QUBO)
/**
 * How a problem is to be solved, in the words of dwave's samplers. Fill it with q_qubo_params_init first.
 */
typedef struct {
    /**
     * sizeof(q_qubo_params), set by q_qubo_params_init.
     */
    uint32_t size;
    /**
     * A q_qubo_method (Q_QUBO_AUTO).
     */
    uint32_t method;
    /**
     * Independent reads; 0 (the default): one, or as many as there is time for.
     */
    uint64_t num_reads;
    /**
     * Sweeps of a read; 0 (the default): the solver's choice.
     */
    uint64_t num_sweeps;
    /**
     * First and last inverse temperature; 0 and 0 (the default): from the coefficients.
     */
    double beta_first;
    /**
     * As above.
     */
    double beta_last;
    /**
     * A q_qubo_schedule (Q_QUBO_GEOMETRIC).
     */
    uint32_t schedule;
    /**
     * Inverse temperatures at `betas`.
     */
    uint32_t n_betas;
    /**
     * Those of Q_QUBO_CUSTOM, read when the solver is created; else NULL.
     */
    const double *betas;
    /**
     * Reads of equal seed and number are equal, whatever the number of threads (0).
     */
    uint64_t seed;
    /**
     * Assignments that the first reads begin with, `n_states` times a byte of 0 or 1 for each variable, read when the solver is created;
     * NULL: anywhere.
     */
    const uint8_t *states;
    /**
     * How many there are.
     */
    uint64_t n_states;
    /**
     * Seconds at most, kept within 10 ms or 1 %; 0: an evaluation alone; negative (the default): no limit.
     */
    double time_limit;
    /**
     * A value in the problem's sense at which to stop; NaN (the default): none.
     */
    double target_energy;
    /**
     * Threads (1); 0: one for each core this process may use.
     */
    uint32_t threads;
    /**
     * Different samples that are kept, the best ones (16).
     */
    uint32_t max_samples;
    /**
     * Bytes the plan may come to; 0: no limit.
     */
    uint64_t budget;
    /**
     * Layers of a QAOA circuit (3).
     */
    uint32_t layers;
    /**
     * Replicas, slices or members of methods that have them; 0: chosen.
     */
    uint32_t replicas;
    /**
     * The highest q_isa to use (Q_ISA_AUTO).
     */
    uint32_t isa;
    /**
     * 0.
     */
    uint32_t reserved;
} q_qubo_params;

/**
 * What a problem is like.
 */
typedef struct {
    /**
     * Bytes of this struct that were filled.
     */
    uint32_t size;
    /**
     * Variables.
     */
    uint32_t variables;
    /**
     * Pairs of variables with a coupling.
     */
    uint64_t couplings;
    /**
     * Share of all pairs that have one.
     */
    double density;
    /**
     * What is added to every value.
     */
    double offset;
    /**
     * Bytes of the coefficients.
     */
    uint64_t bytes;
    /**
     * A q_qubo_sense.
     */
    uint32_t sense;
    /**
     * 1 when all coefficients are whole numbers kept exactly.
     */
    uint32_t exact;
    /**
     * A q_qubo_structure.
     */
    uint32_t structure;
    /**
     * 0.
     */
    uint32_t reserved;
} q_qubo_info;

/**
 * A solver of the host's: writes `n` bytes of 0 or 1 to `x` within `timeout` seconds and returns 0. Anything else that it
 * returns or leaves, or a later answer, counts as a failure. Must not unwind.
 */
typedef int32_t (*q_qubo_solve_fn)(uint8_t *x, size_t n, double timeout, void *user);

/**
 * Where a run is.
 */
typedef struct {
    /**
     * Bytes of this struct.
     */
    uint32_t size;
    /**
     * 0.
     */
    uint32_t reserved;
    /**
     * Seconds since its beginning.
     */
    double seconds;
    /**
     * The best value so far, in the problem's sense; NaN before the first.
     */
    double best;
    /**
     * Flips that were considered.
     */
    uint64_t proposals;
    /**
     * Passes over all variables.
     */
    uint64_t sweeps;
    /**
     * Reads that are finished.
     */
    uint64_t reads;
} q_qubo_progress;

/**
 * Is told where a run is, inside reads: when a better value was found, and every 10 ms or so. Returns 0 to go on, anything else to end
 * with the best so far. Must not unwind.
 */
typedef int32_t (*q_qubo_progress_fn)(const q_qubo_progress *progress, void *user);

/**
 * How a run went.
 */
typedef struct {
    /**
     * Bytes of this struct that were filled.
     */
    uint32_t size;
    /**
     * A q_qubo_end.
     */
    uint32_t end;
    /**
     * The best value, in the problem's sense, computed from the problem.
     */
    double best;
    /**
     * Seconds to the first sample of that value.
     */
    double time_to_best;
    /**
     * Seconds of the whole run.
     */
    double seconds;
    /**
     * Flips that were considered.
     */
    uint64_t proposals;
    /**
     * Flips that were done.
     */
    uint64_t flips;
    /**
     * Passes over all variables.
     */
    uint64_t sweeps;
    /**
     * Reads that were begun.
     */
    uint64_t reads;
    /**
     * What found the best: static text that ends in a NUL.
     */
    const char *method;
} q_qubo_result;
#endif

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * The name of a code, as in "Q_ERR_BUDGET"; "unknown code" for any other number. Static text, never NULL.
 */
const char *q_error_name(int32_t code);

/**
 * Copies the message of this thread's last failed call to `buf`, with a terminating NUL, at most 513 bytes.
 *
 * `needed` (may be NULL) receives its bytes, NUL included. The message stays until another call of this thread fails;
 * a call that succeeds leaves it alone. Without a failure it is empty. Allocates nothing.
 * Errors: Q_ERR_BUFFER_TOO_SMALL, with `buf` untouched; Q_ERR_INVALID_ARGUMENT if `buf` is NULL while `cap` is not 0.
 * These two leave the message as it was.
 */
q_error_code q_last_error(char *buf,
                          size_t cap,
                          size_t *needed);

/**
 * The ABI version of the library. A host goes with it when this equals the Q_ABI_VERSION it was compiled with: within
 * one number functions and fields are only added.
 */
uint32_t q_abi_version(void);

/**
 * The release, as in "0.1.0". Static text, never NULL.
 */
const char *q_version_string(void);

/**
 * Fills `params` with defaults. `size` is sizeof(q_runtime_params).
 */
q_error_code q_runtime_params_init(q_runtime_params *params, size_t size);

/**
 * Makes a runtime and starts its threads. `params` may be NULL: all defaults.
 *
 * Free it with q_runtime_free; models keep it alive beyond that.
 * Errors: Q_ERR_ISA; Q_ERR_INVALID_ARGUMENT for more than 1024 threads or an environment variable QORUS_ISA that names no
 * level; Q_ERR_OUT_OF_MEMORY when the system refuses a thread; Q_ERR_UNSUPPORTED or Q_ERR_IO
 * when it does not pin threads; Q_ERR_BUDGET; Q_ERR_ABI.
 */
q_error_code q_runtime_create(const q_runtime_params *params,
                              q_runtime **out);

/**
 * The number of threads, the caller's included, to `threads`, and the level that is used, a q_isa, to `isa`.
 */
q_error_code q_runtime_info(const q_runtime *runtime, uint32_t *threads, uint32_t *isa);

/**
 * Bytes that the runtime, its models and their contexts have reserved now, mapped files not counted.
 */
q_error_code q_runtime_memory_used(const q_runtime *runtime, uint64_t *bytes);

/**
 * Frees a runtime; NULL is nothing. Its threads end when its last model is freed too.
 */
void q_runtime_free(q_runtime *runtime);

/**
 * Fills `params` with defaults. `size` is sizeof(q_model_params).
 */
q_error_code q_model_params_init(q_model_params *params, size_t size);

/**
 * Loads the GGUF file at `path` (`path_len` bytes); a split set by its first part. `params` may be NULL.
 *
 * The file is mapped and read as the model runs; see "Files" above for what may happen to it meanwhile.
 * Free the model with q_model_free; contexts keep it alive beyond that. The runtime may be freed before it.
 * Errors: Q_ERR_NOT_FOUND, Q_ERR_IO, Q_ERR_FORMAT for a damaged file, Q_ERR_UNSUPPORTED for an architecture, a storage type
 * or a tokenizer that is not known, Q_ERR_OUT_OF_MEMORY, Q_ERR_BUDGET.
 */
q_error_code q_model_load(const q_runtime *runtime,
                          const char *path,
                          size_t path_len,
                          const q_model_params *params,
                          q_model **out);

/**
 * Loads a GGUF file whose `len` bytes are in memory at `data`. `params` may be NULL.
 *
 * Unless `params->copy` is 1 the bytes must stay as they are until the model and all its contexts are freed; they are
 * used in place if `data` is a multiple of 16, and copied otherwise. Errors: as q_model_load.
 */
q_error_code q_model_load_memory(const q_runtime *runtime,
                                 const void *data,
                                 size_t len,
                                 const q_model_params *params,
                                 q_model **out);

/**
 * Facts of a model. `size` is sizeof(q_model_info).
 */
q_error_code q_model_get_info(const q_model *model, q_model_info *info, size_t size);

/**
 * The metadata entry `key` (`key_len` bytes) as text of at most `cap` bytes at `buf`, without a NUL: strings as they
 * are, numbers in decimal, booleans as "true" and "false". `needed` (may be NULL) receives its bytes.
 *
 * Errors: Q_ERR_NOT_FOUND; Q_ERR_UNSUPPORTED for an array; Q_ERR_STATE for a model without file; Q_ERR_BUFFER_TOO_SMALL.
 */
q_error_code q_model_metadata(const q_model *model,
                              const char *key,
                              size_t key_len,
                              char *buf,
                              size_t cap,
                              size_t *needed);

/**
 * What the model at `path` and one context of it would take, from the file's metadata alone: no weight is read, nothing is
 * reserved. `params` may be NULL; `threads` as in q_runtime_params; `size` is sizeof(q_plan).
 *
 * Errors: those of q_model_load and q_context_create. A budget in `params` is checked: Q_ERR_BUDGET leaves the plan filled.
 */
q_error_code q_model_plan(const char *path,
                          size_t path_len,
                          const q_context_params *params,
                          uint32_t threads,
                          q_plan *plan,
                          size_t size);

/**
 * Frees a model; NULL is nothing. What it holds goes when its last context is freed too.
 */
void q_model_free(q_model *model);

/**
 * The tokenizer of a model. Free it with q_tokenizer_free; it keeps what it needs of the model alive.
 * Errors: Q_ERR_STATE when the model has none.
 */
q_error_code q_tokenizer_create(const q_model *model, q_tokenizer **out);

/**
 * The tokenizer of the GGUF file at `path`, which needs neither tensors nor an architecture that is known.
 * Free it with q_tokenizer_free. Errors: Q_ERR_NOT_FOUND, Q_ERR_IO, Q_ERR_FORMAT, Q_ERR_UNSUPPORTED, Q_ERR_OUT_OF_MEMORY.
 */
q_error_code q_tokenizer_load(const char *path,
                              size_t path_len,
                              q_tokenizer **out);

/**
 * Facts of a tokenizer. `size` is sizeof(q_tokenizer_info).
 */
q_error_code q_tokenizer_get_info(const q_tokenizer *tokenizer, q_tokenizer_info *info, size_t size);

/**
 * Whether generation ends with `token`: 1 or 0 to `is_end`.
 */
q_error_code q_tokenizer_is_end(const q_tokenizer *tokenizer, uint32_t token, uint32_t *is_end);

/**
 * Writes the tokens of `len` bytes of UTF-8 to `tokens`, which has room for `cap`; `flags` are Q_ENCODE_*. `needed` (may
 * be NULL) receives their number. Errors: Q_ERR_BUFFER_TOO_SMALL; Q_ERR_INVALID_ARGUMENT for text that is not UTF-8.
 */
q_error_code q_tokenizer_encode(const q_tokenizer *tokenizer,
                                const char *text,
                                size_t len,
                                uint32_t flags,
                                uint32_t *tokens,
                                size_t cap,
                                size_t *needed);

/**
 * Writes the text of `n` tokens to `buf`, without a NUL; `flags` are 0 or Q_DECODE_SPECIAL. `needed` (may be NULL)
 * receives its bytes. Bytes that are no UTF-8 become U+FFFD.
 * Errors: Q_ERR_BUFFER_TOO_SMALL; Q_ERR_INVALID_ARGUMENT for a token outside the vocabulary.
 */
q_error_code q_tokenizer_decode(const q_tokenizer *tokenizer,
                                const uint32_t *tokens,
                                size_t n,
                                uint32_t flags,
                                char *buf,
                                size_t cap,
                                size_t *needed);

/**
 * Writes the bytes of one token to `buf`, without a NUL: perhaps only a part of a character. `flags` are 0 or
 * Q_DECODE_SPECIAL. `needed` (may be NULL) receives their number. Errors: as q_tokenizer_decode.
 */
q_error_code q_tokenizer_piece(const q_tokenizer *tokenizer,
                               uint32_t token,
                               uint32_t flags,
                               char *buf,
                               size_t cap,
                               size_t *needed);

/**
 * Frees a tokenizer; NULL is nothing.
 */
void q_tokenizer_free(q_tokenizer *tokenizer);

/**
 * Makes a decoder of one text; `flags` are Q_DECODE_*. Free it with q_decoder_free. It keeps the tokenizer alive.
 */
q_error_code q_decoder_create(const q_tokenizer *tokenizer,
                              uint32_t flags,
                              q_decoder **out);

/**
 * Takes one token and writes the characters that are now whole to `buf`, without a NUL; none when one is unfinished.
 * `needed` receives their bytes. Errors: as q_tokenizer_decode; the decoder is then as before.
 */
q_error_code q_decoder_push(q_decoder *decoder,
                            uint32_t token,
                            char *buf,
                            size_t cap,
                            size_t *needed);

/**
 * Ends the text: the head of an unfinished character becomes U+FFFD, 3 bytes at most. `needed` receives the bytes
 * written to `buf`. The decoder then begins a text that continues this one. Errors: Q_ERR_BUFFER_TOO_SMALL.
 */
q_error_code q_decoder_finish(q_decoder *decoder,
                              char *buf,
                              size_t cap,
                              size_t *needed);

/**
 * Frees a decoder; NULL is nothing.
 */
void q_decoder_free(q_decoder *decoder);

/**
 * The chat template of the tokenizer's file, or another one for the same tokenizer: `source` (`source_len` bytes) is the
 * name of one that this library knows, as "chatml", or a template's text; 0 bytes for the file's own.
 *
 * Free it with q_chat_free. It does not need the tokenizer to live. The text it makes is to be encoded with
 * Q_ENCODE_BOS | Q_ENCODE_SPECIAL. Errors: Q_ERR_NOT_FOUND when the file has none; Q_ERR_UNSUPPORTED for a template
 * that is not recognised (and, where the library was built with the feature jinja, is no Jinja either).
 */
q_error_code q_chat_create(const q_tokenizer *tokenizer,
                           const char *source,
                           size_t source_len,
                           q_chat **out);

/**
 * Writes `n` messages as text to `buf`, without a NUL; `flags` are 0 or Q_CHAT_PROMPT. `needed` (may be NULL) receives
 * its bytes. Allocates a list of the messages.
 * Errors: Q_ERR_BUFFER_TOO_SMALL; Q_ERR_INVALID_ARGUMENT for no messages, or a conversation that the template refuses.
 */
q_error_code q_chat_render(const q_chat *chat,
                           const q_message *messages,
                           size_t n,
                           uint32_t flags,
                           char *buf,
                           size_t cap,
                           size_t *needed);

/**
 * Frees a chat template; NULL is nothing.
 */
void q_chat_free(q_chat *chat);

/**
 * Fills `params` with defaults. `size` is sizeof(q_context_params).
 */
q_error_code q_context_params_init(q_context_params *params, size_t size);

/**
 * Reserves a context of `model`; nothing is allocated afterwards. `params` may be NULL.
 *
 * Free it with q_context_free. It keeps the model alive: the model may be freed before it.
 * Errors: Q_ERR_BUDGET, whose message says what was needed; Q_ERR_INVALID_ARGUMENT; Q_ERR_SHAPE when the heads do not fit
 * the blocks of `kv_type`; Q_ERR_OUT_OF_MEMORY.
 */
q_error_code q_context_create(const q_model *model,
                              const q_context_params *params,
                              q_context **out);

/**
 * Computes a batch: appends its tokens to their sequences, and keeps the logits that are wanted, in the batch's order.
 *
 * Each token's position must be its sequence's length at that point. On any error the sequences are as before.
 * Errors: Q_ERR_INVALID_ARGUMENT; Q_ERR_CONTEXT_FULL; Q_ERR_CANCELLED; Q_ERR_FILE_CHANGED; Q_ERR_STATE for a model that
 * takes rows.
 */
q_error_code q_context_decode(q_context *context,
                              const q_batch *batch);

/**
 * Appends `n` tokens to sequence `seq` and keeps the logits after the last one, as index 0. Any number of tokens that
 * fits the context. Errors: as q_context_decode.
 */
q_error_code q_context_append(q_context *context,
                              uint32_t seq,
                              const uint32_t *tokens,
                              size_t n);

/**
 * Appends `n` rows of q_model_info.in_width floats to sequence 0 of a model that takes rows, and keeps the results of
 * all: at most `n_outputs` rows. Errors: as q_context_decode, and Q_ERR_STATE for a model that takes tokens.
 */
q_error_code q_context_append_rows(q_context *context,
                                   const float *rows,
                                   size_t n);

/**
 * Copies the logits (or rows) of the `index`-th token of the last call that wanted them: `cap` floats at `out`.
 * `needed` (may be NULL) receives their number. Errors: Q_ERR_BUFFER_TOO_SMALL; Q_ERR_INVALID_ARGUMENT when there is no such.
 */
q_error_code q_context_logits(q_context *context,
                              uint32_t index,
                              float *out,
                              size_t cap,
                              size_t *needed);

/**
 * As q_context_logits without a copy: `logits` receives a pointer to them and `n` their number. They are valid, and may be
 * changed before sampling, until the next call on the context.
 */
q_error_code q_context_logits_data(q_context *context,
                                   uint32_t index,
                                   float **logits,
                                   size_t *n);

/**
 * The natural logarithm of the probability that `token` comes next, by the logits of `index`.
 */
q_error_code q_context_log_prob(q_context *context, uint32_t index, uint32_t token, float *log_prob);

/**
 * Copies the pooled embedding of sequence `seq`, not normalized: `cap` floats at `out`. `needed` (may be NULL) receives
 * their number. Errors: Q_ERR_STATE for a context without pooling; Q_ERR_INVALID_ARGUMENT for a sequence without tokens.
 */
q_error_code q_context_embedding(q_context *context,
                                 uint32_t seq,
                                 float *out,
                                 size_t cap,
                                 size_t *needed);

/**
 * The number of tokens in sequence `seq`, to `len`.
 */
q_error_code q_context_len(q_context *context, uint32_t seq, uint32_t *len);

/**
 * Forgets the tokens of sequence `seq` from position `pos` on. Logits of earlier calls are gone.
 */
q_error_code q_context_truncate(q_context *context, uint32_t seq, uint32_t pos);

/**
 * Forgets what sequence `seq` holds beyond its longest common beginning with the `n` tokens of a text, and writes to `held`
 * how many tokens that is: the rest of the text is to be appended, which is at least its last token, for the logits.
 * Logits of earlier calls are gone. In a context with pooling `held` is 0: embeddings are made of all rows.
 */
q_error_code q_context_reuse(q_context *context,
                             uint32_t seq,
                             const uint32_t *tokens,
                             size_t n,
                             size_t *held);

/**
 * Copies the tokens of sequence `seq`: `cap` of them at `out`. `needed` (may be NULL) receives their number.
 * Errors: Q_ERR_BUFFER_TOO_SMALL; Q_ERR_INVALID_ARGUMENT when there is no such sequence.
 */
q_error_code q_context_tokens(q_context *context, uint32_t seq, uint32_t *out, size_t cap, size_t *needed);

/**
 * Makes sequence `to` a copy of sequence `from`, whose tokens are not computed again.
 */
q_error_code q_context_copy_seq(q_context *context, uint32_t from, uint32_t to);

/**
 * Stops the call that is running on the context, or the next one, at its next operation: it returns Q_ERR_CANCELLED, its
 * sequences as before. From any thread and from a signal handler.
 */
q_error_code q_context_cancel(const q_context *context);

/**
 * Takes back a q_context_cancel that no call has seen. To be called before work that an earlier one is not meant for.
 */
q_error_code q_context_cancel_reset(const q_context *context);

/**
 * Saves the sequences as bytes with a checksum: `cap` bytes at `buf`. `needed` (may be NULL) receives their number.
 * Errors: Q_ERR_BUFFER_TOO_SMALL.
 */
q_error_code q_context_save(q_context *context,
                            void *buf,
                            size_t cap,
                            size_t *needed);

/**
 * Replaces the sequences by saved ones, of the same model and a context of the same kind; its `n_ctx` may differ.
 * Errors: Q_ERR_FORMAT; Q_ERR_STATE when other adapters, other weights of them or other trained values were on it;
 * Q_ERR_CONTEXT_FULL; the sequences are then as before.
 */
q_error_code q_context_restore(q_context *context,
                               const void *data,
                               size_t len);

/**
 * The bytes that the context and its model have reserved, by class. `size` is sizeof(q_plan).
 */
q_error_code q_context_memory(q_context *context, q_plan *memory, size_t size);

/**
 * The greatest number of bytes that were in use so far, of those that q_plan calls activations.
 */
q_error_code q_context_high_water(q_context *context, uint64_t *bytes);

/**
 * Frees a context; NULL is nothing. Not from a callback of a call on it: it then stays.
 */
void q_context_free(q_context *context);

/**
 * Makes an empty batch with room for `capacity` tokens. Free it with q_batch_free. Errors: Q_ERR_OUT_OF_MEMORY.
 */
q_error_code q_batch_create(size_t capacity,
                            q_batch **out);

/**
 * Adds token `token` at position `pos` of sequence `seq`; `wants_logits` other than 0 keeps the logits after it.
 * Errors: Q_ERR_BUFFER_TOO_SMALL when the batch is full.
 */
q_error_code q_batch_add(q_batch *batch,
                         uint32_t token,
                         uint32_t seq,
                         uint32_t pos,
                         uint32_t wants_logits);

/**
 * The number of tokens, to `len`.
 */
q_error_code q_batch_len(const q_batch *batch, size_t *len);

/**
 * Empties the batch.
 */
q_error_code q_batch_clear(q_batch *batch);

/**
 * Frees a batch; NULL is nothing.
 */
void q_batch_free(q_batch *batch);

/**
 * Loads the adapter at `path` (`len` bytes), a GGUF file, or where the library was built with it a folder of PEFT, for `model`. Free it with
 * q_adapter_free; it keeps the model alive.
 *
 * `any_base`: 0 refuses an adapter that says it was made for another base of the same shape, which takes reading all of the model
 * once; 1 takes it.
 * Errors: Q_ERR_NOT_FOUND; Q_ERR_FORMAT; Q_ERR_SHAPE when it is for another model; Q_ERR_STATE when it was made for another base;
 * Q_ERR_UNSUPPORTED; Q_ERR_BUDGET; Q_ERR_OUT_OF_MEMORY.
 */
q_error_code q_adapter_load(const q_model *model,
                            const char *path,
                            size_t len,
                            uint32_t any_base,
                            q_adapter **out);

/**
 * Facts of an adapter, of which `size` bytes are filled: sizeof(q_adapter_info).
 */
q_error_code q_adapter_get_info(const q_adapter *adapter, q_adapter_info *info, size_t size);

/**
 * Puts an adapter on a context, or gives one that is on it another weight: 1 for all of it, 0 for nothing, anything between and
 * beyond. Nothing is loaded or allocated; the context's sequences become empty. The adapter may be freed before the context.
 *
 * Errors: Q_ERR_STATE when the context was made for fewer adapters or a smaller rank; Q_ERR_INVALID_ARGUMENT for an adapter of another
 * model and for a weight that is not finite.
 */
q_error_code q_adapter_attach(const q_adapter *adapter,
                              q_context *context,
                              float weight);

/**
 * Takes an adapter off a context, whose sequences become empty. Errors: Q_ERR_INVALID_ARGUMENT when it is not on it.
 */
q_error_code q_adapter_detach(const q_adapter *adapter,
                              q_context *context);

/**
 * Frees an adapter; NULL is nothing. Contexts that it is on keep it until it is taken off them.
 */
void q_adapter_free(q_adapter *adapter);

/**
 * Fills `params` with defaults. `size` is sizeof(q_sampler_params).
 */
q_error_code q_sampler_params_init(q_sampler_params *params, size_t size);

/**
 * Makes a sampler for the logits of `model`. `params` may be NULL. Free it with q_sampler_free; it does not keep the
 * model alive. Errors: Q_ERR_INVALID_ARGUMENT for a number outside its range (NaN too), Q_ERR_OUT_OF_MEMORY.
 */
q_error_code q_sampler_create(const q_model *model,
                              const q_sampler_params *params,
                              q_sampler **out);

/**
 * Chooses a token by the logits of `index` of the context's last call. It is not remembered: see q_sampler_accept.
 * Errors: Q_ERR_INVALID_ARGUMENT when there are no such logits.
 */
q_error_code q_sampler_sample(q_sampler *sampler,
                              q_context *context,
                              uint32_t index,
                              uint32_t *token);

/**
 * Chooses a token by `n` logits of the host. NaN is never chosen. Errors: Q_ERR_SHAPE for another number of logits than
 * 1 to the width of the model.
 */
q_error_code q_sampler_sample_logits(q_sampler *sampler,
                                     const float *logits,
                                     size_t n,
                                     uint32_t *token);

/**
 * Tells the sampler of a token of the text, for the penalty.
 */
q_error_code q_sampler_accept(q_sampler *sampler, uint32_t token);

/**
 * Forgets recent tokens and starts the draws again.
 */
q_error_code q_sampler_reset(q_sampler *sampler);

/**
 * Frees a sampler; NULL is nothing.
 */
void q_sampler_free(q_sampler *sampler);

/**
 * Makes a generator for contexts of `model`, with `n_stops` texts whose appearance ends a generation. `params` may be
 * NULL; `stops` may be NULL when there are none, and is copied.
 *
 * Free it with q_generator_free; it keeps what it needs of the model alive.
 * Errors: Q_ERR_STATE for a model without tokenizer; Q_ERR_INVALID_ARGUMENT, also for an empty stop; Q_ERR_OUT_OF_MEMORY.
 */
q_error_code q_generator_create(const q_model *model,
                                const q_sampler_params *params,
                                const q_text *stops,
                                size_t n_stops,
                                q_generator **out);

/**
 * Fills `params` with defaults. `size` is sizeof(q_generate_params).
 */
q_error_code q_generate_params_init(q_generate_params *params, size_t size);

/**
 * Appends the `n` tokens of `prompt` to a sequence of `context`, then generates. `params` may be NULL. `result` may be
 * NULL, and then `size` is not read; otherwise it is sizeof(q_generate_result).
 *
 * The last generated token is not appended, so that the sequence can be continued by it or by something else. Nothing
 * is allocated. On Q_ERR_CANCELLED the sequence keeps what was finished: see q_context_len.
 * Errors: Q_ERR_INVALID_ARGUMENT for an empty prompt; those of q_context_append; Q_ERR_SHAPE for a context of another model
 * and for a draft with another vocabulary.
 */
q_error_code q_generator_run(q_generator *generator,
                             q_context *context,
                             const uint32_t *prompt,
                             size_t n,
                             const q_generate_params *params,
                             q_generate_result *result,
                             size_t size);

/**
 * Forgets recent tokens and starts the draws again, as for a new text.
 */
q_error_code q_generator_reset(q_generator *generator);

/**
 * Frees a generator; NULL is nothing.
 */
void q_generator_free(q_generator *generator);

/**
 * Makes an arena of `bytes` bytes, all of which are taken from the system now. Free it with q_arena_free.
 * Errors: Q_ERR_OUT_OF_MEMORY.
 */
q_error_code q_arena_create(size_t bytes, q_arena **out);

/**
 * `bytes` bytes at a multiple of 64, of undefined content; they count as the next multiple of 64. NULL when the budget is
 * spent, or the arena is NULL or in use: q_last_error says which. They live until the arena is reset or freed.
 */
void *q_arena_alloc(q_arena *arena,
                    size_t bytes);

/**
 * Forgets everything that was allocated; the whole budget is there again.
 */
q_error_code q_arena_reset(q_arena *arena);

/**
 * Bytes handed out since the last reset, rounded up as q_arena_alloc says; 0 for NULL.
 */
size_t q_arena_used(const q_arena *arena);

/**
 * The arena's budget, to `bytes`.
 */
q_error_code q_arena_capacity(const q_arena *arena, size_t *bytes);

/**
 * Frees an arena and everything in it; NULL is nothing.
 */
void q_arena_free(q_arena *arena);

/**
 * The bytes of a dense tensor of q_type `type` with `n_dims` dimensions, to `bytes`.
 * Errors: Q_ERR_SHAPE when rows are no whole blocks of the type.
 */
q_error_code q_tensor_bytes(uint32_t type, uint32_t n_dims, const uint64_t *dims, size_t *bytes);

/**
 * Makes `tensor` a dense view of the host's `bytes` bytes at `data`. Nothing is copied or kept.
 * Errors: Q_ERR_BUFFER_TOO_SMALL when the elements take more; Q_ERR_SHAPE; Q_ERR_INVALID_ARGUMENT.
 */
q_error_code q_tensor_wrap(uint32_t type,
                           uint32_t n_dims,
                           const uint64_t *dims,
                           void *data,
                           size_t bytes,
                           q_tensor *tensor);

/**
 * Makes `tensor` a dense tensor in `arena`, at a multiple of 64, of undefined content; it lives as long as the arena's
 * other memory. Errors: Q_ERR_BUDGET when the arena is spent; Q_ERR_SHAPE.
 */
q_error_code q_tensor_alloc(q_arena *arena,
                            uint32_t type,
                            uint32_t n_dims,
                            const uint64_t *dims,
                            q_tensor *tensor);

/**
 * Whether the elements lie one after another, in order: 1 or 0 to `dense`.
 */
q_error_code q_tensor_is_dense(const q_tensor *tensor, uint32_t *dense);

/**
 * Makes `out` the part `start` to `start + len` of dimension `dim`, over the same memory. `out` may be `tensor`.
 */
q_error_code q_tensor_slice(const q_tensor *tensor,
                            uint32_t dim,
                            uint64_t start,
                            uint64_t len,
                            q_tensor *out);

/**
 * Makes `out` the same elements, which must be dense, under other dimensions. `out` may be `tensor`.
 */
q_error_code q_tensor_reshape(const q_tensor *tensor, uint32_t n_dims, const uint64_t *dims, q_tensor *out);

/**
 * Makes `out` the same elements with dimensions `a` and `b` exchanged. `out` may be `tensor`.
 */
q_error_code q_tensor_transpose(const q_tensor *tensor, uint32_t a, uint32_t b, q_tensor *out);

/**
 * Copies the elements of `src` to `dst`, which has the same dimensions, in the type and with the strides of `dst`: so it
 * quantizes, dequantizes, and makes dense. Floats become integers by rounding to the nearest, within their range.
 * Errors: Q_ERR_UNSUPPORTED for a type that can be read but not written (IQ2_XXS ...); Q_ERR_SHAPE.
 */
q_error_code q_tensor_convert(const q_runtime *runtime,
                              const q_tensor *src,
                              q_tensor *dst);

/**
 * Describes `tensor` as a DLTensor over the same memory. `shape` and `strides` have room for 6 numbers each, and must
 * live as long as `out` is used. Errors: Q_ERR_UNSUPPORTED for block types.
 */
q_error_code q_tensor_to_dlpack(const q_tensor *tensor,
                                int64_t *shape,
                                int64_t *strides,
                                q_dl_tensor *out);

/**
 * Makes `tensor` a view of what a DLTensor describes. Errors: Q_ERR_UNSUPPORTED for memory that is not the CPU's, for other
 * types, for more than 6 dimensions, and for strides that go backwards.
 */
q_error_code q_tensor_from_dlpack(const q_dl_tensor *dl,
                                  q_tensor *tensor);

/**
 * y = activation(x), a q_activation; y may be x.
 *
 * Of this and all operations below: tensors are F32 where nothing else is said, of any dimensions and strides as long as
 * the elements of a row (of the last dimension) lie one after another; y is written where it lies, may share memory
 * with no other tensor of the call but where that is said, and nothing is allocated.
 * Errors: Q_ERR_SHAPE, and Q_ERR_INVALID_ARGUMENT for memory that is shared, not aligned or NULL.
 */
q_error_code q_tensor_activation(const q_runtime *runtime,
                                 uint32_t activation,
                                 const q_tensor *x,
                                 q_tensor *y);

/**
 * y = softmax of each row of x; y may be x.
 */
q_error_code q_tensor_softmax(const q_runtime *runtime, const q_tensor *x, q_tensor *y);

/**
 * y = factor * x; y may be x.
 */
q_error_code q_tensor_scale(const q_runtime *runtime, const q_tensor *x, float factor, q_tensor *y);

/**
 * y = cap * tanh(x / cap); y may be x.
 */
q_error_code q_tensor_softcap(const q_runtime *runtime, const q_tensor *x, float cap, q_tensor *y);

/**
 * y = a + b; y may be a or b. b may be one row, which is added to each row of a, and is then not y.
 */
q_error_code q_tensor_add(const q_runtime *runtime, const q_tensor *a, const q_tensor *b, q_tensor *y);

/**
 * y = a * b, element by element; otherwise as q_tensor_add.
 */
q_error_code q_tensor_mul(const q_runtime *runtime, const q_tensor *a, const q_tensor *b, q_tensor *y);

/**
 * y = silu(gate) * up; y may be gate.
 */
q_error_code q_tensor_silu_mul(const q_runtime *runtime,
                               const q_tensor *gate,
                               const q_tensor *up,
                               q_tensor *y);

/**
 * y = gelu(gate) * up, in the tanh form; y may be gate.
 */
q_error_code q_tensor_gelu_mul(const q_runtime *runtime,
                               const q_tensor *gate,
                               const q_tensor *up,
                               q_tensor *y);

/**
 * y = y + factor * x
 */
q_error_code q_tensor_axpy(const q_runtime *runtime, float factor, const q_tensor *x, q_tensor *y);

/**
 * The sum of a * b over all elements, to `sum`.
 */
q_error_code q_tensor_dot(const q_runtime *runtime, const q_tensor *a, const q_tensor *b, float *sum);

/**
 * y = x / sqrt(mean(x^2) + eps) * weight, each row alone; `weight` is one row.
 */
q_error_code q_tensor_rmsnorm(const q_runtime *runtime,
                              const q_tensor *x,
                              const q_tensor *weight,
                              float eps,
                              q_tensor *y);

/**
 * y = (x - mean(x)) / sqrt(variance(x) + eps) * weight + bias, each row alone; `bias` may be NULL.
 */
q_error_code q_tensor_layernorm(const q_runtime *runtime,
                                const q_tensor *x,
                                const q_tensor *weight,
                                const q_tensor *bias,
                                float eps,
                                q_tensor *y);

/**
 * Turns heads [rows][heads][head_dim] of dense x by the angles of their rows, whose cosines and sines are dense
 * [rows][half]: the first 2 * half elements of each head, paired as the q_rope_style says. y may be x.
 */
q_error_code q_tensor_rope(const q_runtime *runtime,
                           uint32_t style,
                           const q_tensor *x,
                           const q_tensor *cos,
                           const q_tensor *sin,
                           q_tensor *y);

/**
 * y = x w^T + bias: dense x [..][in], dense weights [out][in] of F32, F16, BF16 or a block type, `bias` [out] or NULL,
 * dense y [..][out]. Against block types x is rounded to 8 bits in blocks of 32, as in every model.
 *
 * `work` is memory of the host for the call; when `work_bytes` are too few the call is Q_ERR_BUFFER_TOO_SMALL, and
 * `needed` (may be NULL) says how many it takes. Errors: Q_ERR_SHAPE; Q_ERR_UNSUPPORTED for integer weights.
 */
q_error_code q_tensor_matmul(const q_runtime *runtime,
                             const q_tensor *x,
                             const q_tensor *w,
                             const q_tensor *bias,
                             q_tensor *y,
                             void *work,
                             size_t work_bytes,
                             size_t *needed);

/**
 * y = softmax(scale q k^T) v: dense queries [rows][heads][head_dim] of the positions `first` and following, dense keys and
 * values [kv heads][positions][head_dim] of F32, F16, Q8_0 or Q4_0, dense y as q. A row sees the positions up to its own,
 * or the last `window` of them if that is not 0. `scale` 0 is 1 / sqrt(head_dim); `softcap` 0 is none.
 * `work` as in q_tensor_matmul.
 */
q_error_code q_tensor_attention(const q_runtime *runtime,
                                const q_tensor *q,
                                const q_tensor *k,
                                const q_tensor *v,
                                uint32_t first,
                                uint32_t window,
                                float scale,
                                float softcap,
                                q_tensor *y,
                                void *work,
                                size_t work_bytes,
                                size_t *needed);

/**
 * Begins a model for `runtime`. Free it with q_builder_free; it keeps the runtime alive.
 */
q_error_code q_builder_create(const q_runtime *runtime, q_builder **out);

/**
 * The model takes rows of `width` floats. Errors: Q_ERR_STATE when the input is settled already.
 */
q_error_code q_builder_rows(q_builder *builder, uint32_t width);

/**
 * The model takes tokens, a row of `table` [vocab][width] for each. Errors: as q_builder_rows.
 */
q_error_code q_builder_embedding(q_builder *builder, const q_tensor *table);

/**
 * y = x weight^T + bias; `bias` [out] may be NULL. Errors, of this and the layers below: Q_ERR_SHAPE when the widths do not
 * go together; Q_ERR_UNSUPPORTED for weights of integers; Q_ERR_STATE before the input is settled.
 */
q_error_code q_builder_linear(q_builder *builder,
                              const q_tensor *weight,
                              const q_tensor *bias);

/**
 * y = x / sqrt(mean(x^2) + eps) * weight
 */
q_error_code q_builder_rmsnorm(q_builder *builder, const q_tensor *weight, float eps);

/**
 * y = (x - mean(x)) / sqrt(variance(x) + eps) * weight + bias; `bias` may be NULL.
 */
q_error_code q_builder_layernorm(q_builder *builder, const q_tensor *weight, const q_tensor *bias, float eps);

/**
 * y = activation(x), a q_activation.
 */
q_error_code q_builder_activation(q_builder *builder, uint32_t activation);

/**
 * y = factor * x
 */
q_error_code q_builder_scale(q_builder *builder, float factor);

/**
 * y = cap * tanh(x / cap)
 */
q_error_code q_builder_softcap(q_builder *builder, float cap);

/**
 * In training, elements become 0 with probability `rate` and the others larger; nothing in inference.
 */
q_error_code q_builder_dropout(q_builder *builder, float rate);

/**
 * Rows of [numbers | a category for each table] become [numbers | a row of each table]: features of a table's columns. `tables` are
 * `n` matrices [categories][width], one after another; categories are whole numbers, held as floats. Errors: Q_ERR_SHAPE for more
 * tables than elements of a row; when the model runs, Q_ERR_INVALID_ARGUMENT for a number that is no category.
 */
q_error_code q_builder_features(q_builder *builder,
                                const q_tensor *tables,
                                size_t n);

/**
 * Fills `params` with defaults. `size` is sizeof(q_attention_params).
 */
q_error_code q_attention_params_init(q_attention_params *params, size_t size);

/**
 * Causal self-attention with its projections: multi-head, or grouped-query with fewer key than query heads.
 */
q_error_code q_builder_attention(q_builder *builder, const q_attention_params *params);

/**
 * y = down activation(up x + up_bias) + down_bias: an MLP of one hidden layer. The biases may be NULL.
 */
q_error_code q_builder_mlp(q_builder *builder,
                           uint32_t activation,
                           const q_tensor *up,
                           const q_tensor *up_bias,
                           const q_tensor *down,
                           const q_tensor *down_bias);

/**
 * y = down (activation(gate x) * up x): SwiGLU with Q_ACTIVATION_SILU, GeGLU with Q_ACTIVATION_GELU.
 */
q_error_code q_builder_glu(q_builder *builder,
                           uint32_t activation,
                           const q_tensor *gate,
                           const q_tensor *up,
                           const q_tensor *down);

/**
 * The layers from here to q_builder_residual_end are f in y = x + f(x). They may nest.
 */
q_error_code q_builder_residual_begin(q_builder *builder);

/**
 * Ends the residual branch that began last. Errors: Q_ERR_SHAPE when it changed the width; Q_ERR_STATE when there is none.
 */
q_error_code q_builder_residual_end(q_builder *builder);

/**
 * The width of the rows after the layers so far, to `width`; 0 before the input is settled.
 */
q_error_code q_builder_width(q_builder *builder, uint32_t *width);

/**
 * Makes the model. The builder is as new afterwards. Free the model with q_model_free.
 * Errors: Q_ERR_STATE for a residual branch that is open, or no layers; Q_ERR_BUDGET, and then the layers are lost.
 */
q_error_code q_builder_finish(q_builder *builder,
                              q_model **out);

/**
 * Frees a builder; NULL is nothing.
 */
void q_builder_free(q_builder *builder);

/**
 * Runs a model of any architecture on `input` alone: what sequence 0 held is forgotten first.
 *
 * A model of tokens takes I32 [n], one of rows F32 [n][in_width] (or [in_width]). `output` is F32: [n][out_width] for the
 * results of all rows, or [out_width] for that of the last. Both are dense. `context` is one of `model`; sequence 0 holds
 * the input afterwards, so that q_context_append can continue it. Nothing is allocated.
 * Errors: Q_ERR_SHAPE; Q_ERR_INVALID_ARGUMENT for a token outside the vocabulary; Q_ERR_CONTEXT_FULL for more rows than the
 * context has positions, if the model has attention; Q_ERR_CANCELLED; Q_ERR_FILE_CHANGED. Sequence 0 is then empty.
 */
q_error_code q_model_forward(const q_model *model,
                             q_context *context,
                             const q_tensor *input,
                             q_tensor *output);

#if defined(Q_ENABLE_TRAINING)
/**
 * Multiplies all gradients by min(1, limit / (norm + 1e-6)), where the norm is the root of the sum of the squares of them all.
 *
 * `gradients` are `n` tensors one after another, dense F32, that share no memory. `norm` (may be NULL) receives the norm before.
 * `runtime` lends its threads; NULL: the calling thread alone, with the same bits. Nothing is allocated.
 * Errors: Q_ERR_NOT_FINITE when a gradient is NaN or infinite: the message says which one, and nothing is written;
 * Q_ERR_INVALID_ARGUMENT for a limit that is not above 0; Q_ERR_SHAPE.
 */
q_error_code q_grad_clip_norm(const q_runtime *runtime,
                              const q_tensor *gradients,
                              size_t n,
                              float limit,
                              float *norm);

/**
 * Brings each gradient to within `limit` of 0; a NaN stays one. Arguments and errors: as q_grad_clip_norm.
 */
q_error_code q_grad_clip_value(const q_runtime *runtime, const q_tensor *gradients, size_t n, float limit);

/**
 * The mean of (p - t)^2 over all N elements, to `loss_value`.
 *
 * Of all losses: tensors are dense F32 of any dimensions, the same for predictions, targets and gradients where nothing else is
 * said. They are computed by the calling thread alone, with the CPU's best kernels; q_loss_compute takes a runtime's threads.
 * Nothing is allocated. A NaN or an infinity among the predictions is found in the result; it is no error.
 * Errors: Q_ERR_SHAPE; Q_ERR_INVALID_ARGUMENT. On an error nothing is written.
 */
q_error_code q_loss_mse(const q_tensor *predictions,
                        const q_tensor *targets,
                        float *loss_value);

/**
 * The gradient of q_loss_mse by the predictions: 2 (p - t) / N.
 *
 * Of all gradients: they are those of the mean losses, as finite differences and PyTorch have them; to multiply them by a
 * factor is to multiply the loss by it. Here they replace what `gradients` held; they are not added to it.
 */
q_error_code q_loss_mse_grad(const q_tensor *predictions,
                             const q_tensor *targets,
                             q_tensor *gradients);

/**
 * The mean of -log(softmax(p)[t]) over the rows that count, in nats, to `loss_value`; 0 when none does.
 *
 * Predictions are logits, [...][classes]: any number of rows. Targets are I32, a class for each row ([...], [...][1], or [rows]),
 * of which -100 says that the row does not count; or F32 [...][classes], a distribution for each row, all of which count.
 * Errors: Q_ERR_INVALID_ARGUMENT for any other number that is no class; Q_ERR_SHAPE.
 */
q_error_code q_loss_crossentropy(const q_tensor *predictions,
                                 const q_tensor *targets,
                                 float *loss_value);

/**
 * The gradient of q_loss_crossentropy by the predictions: (softmax(p) - onehot(t)) / count, and 0 in rows that do not count.
 * `gradients` may be the predictions themselves, which they then replace.
 */
q_error_code q_loss_crossentropy_grad(const q_tensor *predictions,
                                      const q_tensor *targets,
                                      q_tensor *gradients);

/**
 * As q_loss_mse with the kernels of Q_ISA_AVX2 and no other. Errors: Q_ERR_ISA when the CPU lacks it, of this and the three below.
 */
q_error_code q_loss_mse_avx2(const q_tensor *predictions,
                             const q_tensor *targets,
                             float *loss_value);

/**
 * As q_loss_mse_grad, likewise.
 */
q_error_code q_loss_mse_grad_avx2(const q_tensor *predictions, const q_tensor *targets, q_tensor *gradients);

/**
 * As q_loss_crossentropy, likewise.
 */
q_error_code q_loss_crossentropy_avx2(const q_tensor *predictions,
                                      const q_tensor *targets,
                                      float *loss_value);

/**
 * As q_loss_crossentropy_grad, likewise.
 */
q_error_code q_loss_crossentropy_grad_avx2(const q_tensor *predictions,
                                           const q_tensor *targets,
                                           q_tensor *gradients);

/**
 * Fills `params` with defaults. `size` is sizeof(q_loss_params).
 */
q_error_code q_loss_params_init(q_loss_params *params, size_t size);

/**
 * A loss and its gradient in one call, with all that can be chosen: `params` may be NULL, which is q_loss_crossentropy. The gradient
 * goes to `gradients`, which may be NULL; `result` may be NULL too, and `size` is then 0, otherwise sizeof(q_loss_result).
 * Errors: as those of the loss; Q_ERR_INVALID_ARGUMENT for numbers out of range.
 */
q_error_code q_loss_compute(const q_loss_params *params,
                            const q_tensor *predictions,
                            const q_tensor *targets,
                            q_tensor *gradients,
                            q_loss_result *result,
                            size_t size);

/**
 * An optimizer of q_optimizer_type `type`, with the defaults of q_optimizer_params but for the learning rate, and a weight decay of
 * 0.01 for Q_OPTIM_ADAMW. NULL on failure: q_last_error has the reason. Free it with q_optimizer_free.
 *
 * It computes with the threads of the context's runtime, which it keeps alive; the context may be freed before it. The moments
 * count to the context's budget and the runtime's limit, as they are bound. Errors: Q_ERR_INVALID_ARGUMENT for a learning rate
 * that is negative or not finite, or a type that is none; Q_ERR_STATE while another call uses the context.
 */
q_optimizer *q_optimizer_create(q_optimizer_type type,
                                float learning_rate,
                                q_context *ctx);

/**
 * Adam with these numbers. The decay bypasses the moments, so that it is AdamW when `weight_decay` is above 0. Otherwise as
 * q_optimizer_create.
 */
q_optimizer *q_optimizer_adam_create(float learning_rate,
                                     float beta1,
                                     float beta2,
                                     float epsilon,
                                     float weight_decay,
                                     float l1_regularization,
                                     q_context *ctx);

/**
 * Fills `params` with defaults. `size` is sizeof(q_optimizer_params).
 */
q_error_code q_optimizer_params_init(q_optimizer_params *params, size_t size);

/**
 * An optimizer with all that can be chosen; `params` may be NULL. Otherwise as q_optimizer_create.
 */
q_error_code q_optimizer_create_with(q_context *context, const q_optimizer_params *params, q_optimizer **out);

/**
 * Reserves the moments of `n` weight tensors, one after another at `weights`, and remembers the gradients that go with them, at
 * `gradients` (may be NULL), for q_optimizer_zero_grad. Dense F32 tensors that share no memory; one that is bound already keeps its
 * moments. `flags` is 0 or Q_OPTIM_NO_DECAY.
 *
 * Errors: Q_ERR_BUDGET when the moments do not fit `memory_limit`, the context's budget or the runtime's limit; Q_ERR_SHAPE;
 * Q_ERR_INVALID_ARGUMENT; Q_ERR_OUT_OF_MEMORY. None is bound then.
 */
q_error_code q_optimizer_bind(q_optimizer *optimizer,
                              const q_tensor *weights,
                              const q_tensor *gradients,
                              size_t n,
                              uint32_t flags);

/**
 * The bytes that q_optimizer_bind of these tensors would reserve, to `bytes`: 0 for those that are bound.
 */
q_error_code q_optimizer_plan(q_optimizer *optimizer, const q_tensor *weights, size_t n, uint64_t *bytes);

/**
 * One step of `weights` by `gradients`, dense F32 tensors of the same dimensions. The gradients are left as they are (see
 * q_optimizer_zero_grad).
 *
 * A tensor that was not bound is bound first, as by q_optimizer_bind with flags 0.
 * Errors: Q_ERR_NOT_FINITE when a gradient is NaN or infinite: the message says which one, and no weight or moment is changed;
 * Q_ERR_BUDGET for a tensor that was not bound and no longer fits; Q_ERR_SHAPE; Q_ERR_INVALID_ARGUMENT.
 */
q_error_code q_optimizer_step(q_optimizer *optimizer,
                              q_tensor *weights,
                              const q_tensor *gradients);

/**
 * Makes zeros of the gradients of all tensors: of each the ones it was last bound or stepped with, but for read-only ones. Their
 * memory must still be there. For hosts that add the gradients of several batches up; NULL is nothing.
 */
void q_optimizer_zero_grad(q_optimizer *optimizer);

/**
 * The bytes that the moments of all bound tensors take, to `bytes`.
 */
q_error_code q_optimizer_memory(q_optimizer *optimizer, uint64_t *bytes);

/**
 * Frees an optimizer, its moments with it; NULL is nothing. Tensors are the host's, and stay.
 */
void q_optimizer_free(q_optimizer *optimizer);

/**
 * The learning rate, to `learning_rate`.
 */
q_error_code q_optimizer_learning_rate(q_optimizer *optimizer, float *learning_rate);

/**
 * Another learning rate from the next step on. Errors: Q_ERR_INVALID_ARGUMENT when it is negative or not finite.
 */
q_error_code q_optimizer_set_learning_rate(q_optimizer *optimizer,
                                           float learning_rate);

/**
 * All numbers of the optimizer. `size` is sizeof(q_optimizer_params).
 */
q_error_code q_optimizer_get_params(q_optimizer *optimizer, q_optimizer_params *params, size_t size);

/**
 * Other numbers from the next step on, for all tensors; moments and steps stay.
 * Errors: Q_ERR_INVALID_ARGUMENT; Q_ERR_STATE when tensors are bound whose moments are not those of the new numbers: another
 * type, another `moment_bits`, or a momentum where there was none.
 */
q_error_code q_optimizer_set_params(q_optimizer *optimizer,
                                    const q_optimizer_params *params);

/**
 * The steps that a bound tensor has taken, to `step`. Errors: Q_ERR_NOT_FOUND for one that is not bound.
 */
q_error_code q_optimizer_get_step(q_optimizer *optimizer, const q_tensor *weights, uint64_t *step);

/**
 * Says how many steps a bound tensor has taken, as Adam's correction of its moments needs it. Errors: Q_ERR_NOT_FOUND.
 */
q_error_code q_optimizer_set_step(q_optimizer *optimizer,
                                  const q_tensor *weights,
                                  uint64_t step);

/**
 * Copies the moments of a bound tensor to tensors of its dimensions, dense F32: `first` and `second`, either of which may be NULL.
 * The first is SGD's momentum or Adam's mean of gradients, the second Adam's mean of their squares.
 * Errors: Q_ERR_NOT_FOUND for a tensor that is not bound; Q_ERR_STATE for a moment that there is not; Q_ERR_SHAPE.
 */
q_error_code q_optimizer_get_moments(q_optimizer *optimizer,
                                     const q_tensor *weights,
                                     q_tensor *first,
                                     q_tensor *second);

/**
 * Replaces the moments of a bound tensor, likewise; those of 8 bits are rounded. Errors: as q_optimizer_get_moments;
 * Q_ERR_INVALID_ARGUMENT for a number that is not finite, or a second moment below 0.
 */
q_error_code q_optimizer_set_moments(q_optimizer *optimizer,
                                     const q_tensor *weights,
                                     const q_tensor *first,
                                     const q_tensor *second);

/**
 * Fills `params` with defaults. `size` is sizeof(q_train_params).
 */
q_error_code q_train_params_init(q_train_params *params, size_t size);

/**
 * Trains the model, through the trainer of the context, on batches that the host gives: steps, validations, checkpoints, until all
 * steps are done, or it is stopped, or nothing improves. `result` may be NULL, with `size` 0; else sizeof(q_train_result).
 *
 * Batches are reserved first; then no step allocates but for checkpoints, which write files. The bits do not depend on the threads,
 * and a run that goes on from a checkpoint of its own ends with the bits of one that was never stopped.
 * Errors: Q_ERR_STATE without a trainer, when the data ends too early, or when a loss or gradient is NaN or infinite: the message
 * says where it came from first, and weights and checkpoints are those of the step before; Q_ERR_INVALID_ARGUMENT; Q_ERR_IO;
 * Q_ERR_CANCELLED; those of q_trainer_load.
 */
q_error_code q_model_train(const q_model *model,
                           q_context *context,
                           const q_train_params *params,
                           q_train_result *result,
                           size_t size);

/**
 * Fills `params` with defaults. `size` is sizeof(q_trainer_params).
 */
q_error_code q_trainer_params_init(q_trainer_params *params, size_t size);

/**
 * What training the model at `path` would take, the model included, from the file's metadata alone; the context comes on top, and
 * so does the copy of q_trainer_publish. `params` may be NULL; `threads` as in q_runtime_params; `size` is sizeof(q_plan).
 * Errors: those of q_model_plan and q_trainer_create. A budget in `params` is checked: Q_ERR_BUDGET leaves the plan filled.
 */
q_error_code q_trainer_plan(const char *path,
                            size_t path_len,
                            const q_trainer_params *params,
                            uint32_t threads,
                            q_plan *plan,
                            size_t size);

/**
 * Makes a trainer of the context's model; nothing is allocated by its passes and steps. `params` may be NULL. Free it with
 * q_trainer_free; it keeps the model alive.
 *
 * Errors: Q_ERR_STATE when the context has a trainer; Q_ERR_BUDGET, whose message says what was needed; Q_ERR_INVALID_ARGUMENT,
 * also when nothing is to be trained; Q_ERR_UNSUPPORTED for a layer without a way back; Q_ERR_OUT_OF_MEMORY.
 */
q_error_code q_trainer_create(q_context *context,
                              const q_trainer_params *params,
                              q_trainer **out);

/**
 * The bytes that the trainer and its model have reserved, by class. `size` is sizeof(q_plan).
 */
q_error_code q_trainer_memory(q_trainer *trainer, q_plan *memory, size_t size);

/**
 * Makes the q_model_train that is running, or the next one, wait after the step under way, until q_trainer_resume or
 * q_trainer_stop. From any thread and from callbacks.
 */
q_error_code q_trainer_pause(const q_trainer *trainer);

/**
 * Lets it go on. From any thread.
 */
q_error_code q_trainer_resume(const q_trainer *trainer);

/**
 * Makes it finish the step under way, save, and return Q_OK with Q_TRAIN_STOPPED. From any thread and from callbacks.
 */
q_error_code q_trainer_stop(const q_trainer *trainer);

/**
 * Frees a trainer; NULL is nothing. Its context goes on with the weights it was last given by q_trainer_publish. Not while a call
 * uses it.
 */
void q_trainer_free(q_trainer *trainer);

/**
 * Writes a checkpoint to `path` (`len` bytes): weights, moments, and how many steps were taken; whole or not at all, with a
 * checksum. Errors: Q_ERR_IO; Q_ERR_STATE when a weight is NaN or infinite. A file that was there is then as it was.
 */
q_error_code q_trainer_save(q_trainer *trainer,
                            const char *path,
                            size_t len);

/**
 * Puts a checkpoint into a trainer of the same model and the same kind of optimizer; `step` (may be NULL) receives how many steps it
 * had taken. Errors: Q_ERR_NOT_FOUND; Q_ERR_FORMAT when it is cut or damaged; Q_ERR_STATE when it is another model's or
 * optimizer's. The trainer is then as it was.
 */
q_error_code q_trainer_load(q_trainer *trainer,
                            const char *path,
                            size_t len,
                            uint64_t *step);

/**
 * Writes the model with its trained weights to `path` (`len` bytes) as a GGUF file, which loads again: the metadata and tensors
 * of the file it came from with the trained ones in their place; a model made by a q_builder becomes one of architecture `qorus`.
 * `type` is a q_type for the trained matrices, or Q_TYPE_AS_IS.
 * Errors: Q_ERR_UNSUPPORTED for a type that cannot be written, or any but F32 for a model made by a q_builder; Q_ERR_IO.
 */
q_error_code q_trainer_export(q_trainer *trainer,
                              const char *path,
                              size_t len,
                              uint32_t type);

/**
 * Writes the adapter that is trained to `path` (`len` bytes) as a GGUF file that q_adapter_load and other programs read, with the hash of
 * its base. Errors: Q_ERR_STATE when none is trained; Q_ERR_IO.
 */
q_error_code q_trainer_export_adapter(q_trainer *trainer,
                                      const char *path,
                                      size_t len);

/**
 * As q_model_forward with the trained weights of the context's trainer, keeping what q_model_backward needs.
 *
 * Input: I32 [n] tokens or [sequences][n]; F32 [n][in_width] rows or [sequences][n][in_width], dense. `output` is F32, dense, with
 * out_width elements for each row. Dropout is at work. The context's own sequences are not touched.
 * Errors: Q_ERR_STATE without a trainer; Q_ERR_SHAPE, also for more rows than `max_rows`; Q_ERR_INVALID_ARGUMENT.
 */
q_error_code q_model_forward_train(const q_model *model,
                                   q_context *context,
                                   const q_tensor *input,
                                   q_tensor *output);

/**
 * Goes back through the model from `loss_gradient`, the gradient of a loss by the output of the q_model_forward_train before, of
 * the same number of rows: adds to the gradients of the trainer's tensors. `layer_idx` 0: all the way; n: down to layer n, so that the
 * layers before it get no gradient. Layers are counted as in the file or the builder, a residual branch being one.
 *
 * Each forward pass can be gone back through once. Gradients add up until q_trainer_step or q_trainer_zero_grad.
 * Errors: Q_ERR_STATE without a trainer or a forward pass; Q_ERR_SHAPE; Q_ERR_INVALID_ARGUMENT when there is no such layer.
 */
q_error_code q_model_backward(q_model *model,
                              q_context *context,
                              const q_tensor *loss_gradient,
                              uint32_t layer_idx);

/**
 * One step of all trained tensors with the trainer's optimizer. `clip_norm` bounds the norm of all gradients together, 0: nothing
 * does. `norm` (may be NULL) receives the norm before. The gradients become zeros.
 * Errors: Q_ERR_NOT_FINITE when a gradient is NaN or infinite: the message names it, and nothing is changed;
 * Q_ERR_INVALID_ARGUMENT.
 */
q_error_code q_trainer_step(q_trainer *trainer,
                            float learning_rate,
                            float clip_norm,
                            float *norm);

/**
 * Makes zeros of all gradients.
 */
q_error_code q_trainer_zero_grad(q_trainer *trainer);

/**
 * The number of tensors that are trained, to `n`.
 */
q_error_code q_trainer_tensors(q_trainer *trainer, uint32_t *n);

/**
 * Trained tensor `index`, counted from 0: its values to `weights` and its gradients to `gradients`, either of which may be NULL. They
 * are F32, views of the trainer's memory, valid until it is freed; the host may read and write them between calls, and
 * bind them to a q_optimizer. Errors: Q_ERR_INVALID_ARGUMENT when there is no such tensor.
 */
q_error_code q_trainer_tensor(q_trainer *trainer,
                              uint32_t index,
                              q_tensor *weights,
                              q_tensor *gradients);

/**
 * The name of trained tensor `index`: `cap` bytes at `buf`, without a NUL. `needed` (may be NULL) receives its bytes.
 */
q_error_code q_trainer_tensor_name(q_trainer *trainer,
                                   uint32_t index,
                                   char *buf,
                                   size_t cap,
                                   size_t *needed);

/**
 * Lets the trainer's context compute with the trained weights of this moment from now on; its sequences become empty. The first call
 * reserves a copy of them, later ones write over it. A context without such a call computes with the model's own weights.
 * Errors: Q_ERR_INVALID_ARGUMENT when the trainer is another context's; Q_ERR_BUDGET.
 */
q_error_code q_trainer_publish(q_trainer *trainer,
                               q_context *context);
#endif

#if defined(Q_ENABLE_QUBO)
/**
 * Fills `params` with defaults. `size` is sizeof(q_qubo_params).
 */
q_error_code q_qubo_params_init(q_qubo_params *params, size_t size);

/**
 * Builds a problem of `n` variables from `count` triplets: values[k] x_i[k] x_j[k], and values[k] x_i[k] where i[k] = j[k]. Those that
 * come twice are summed, and (i, j) is (j, i). `sense` is a q_qubo_sense. Whole numbers whose sums fit stay exact.
 * Errors: Q_ERR_INVALID_ARGUMENT for an index out of range; Q_ERR_NOT_FINITE; Q_ERR_OUT_OF_MEMORY.
 */
q_error_code q_qubo_create(uint32_t n,
                           const uint32_t *i,
                           const uint32_t *j,
                           const double *values,
                           size_t count,
                           double offset,
                           uint32_t sense,
                           q_qubo **qubo);

/**
 * As q_qubo_create, of whole numbers.
 */
q_error_code q_qubo_create_int(uint32_t n,
                               const uint32_t *i,
                               const uint32_t *j,
                               const int64_t *values,
                               size_t count,
                               double offset,
                               uint32_t sense,
                               q_qubo **qubo);

/**
 * Builds the problem x'Qx of a dense row-major matrix of n by n elements of `type`: Q_TYPE_F64, F32, I64, I32, I16 or I8. Entries at
 * (i, j) and (j, i) add up. The matrix is read during the call; the problem keeps its numbers in the narrowest type that holds them.
 * Errors: as q_qubo_create.
 */
q_error_code q_qubo_create_dense(uint32_t n,
                                 const void *matrix,
                                 uint32_t type,
                                 double offset,
                                 uint32_t sense,
                                 q_qubo **qubo);

/**
 * As q_qubo_create_dense, but the problem is a view: the matrix stays where it is and has to stay as it is until the problem and all its
 * solvers are freed. Values are computed from it; q_qubo_info.bytes has only the diagonal, and what a solver packs of it is in its plan,
 * as `weights_resident`.
 */
q_error_code q_qubo_create_view(uint32_t n,
                                const void *matrix,
                                uint32_t type,
                                double offset,
                                uint32_t sense,
                                q_qubo **qubo);

/**
 * Builds the problem of an Ising model, offset + sum h_i s_i + sum J_ij s_i s_j over spins s = 2x - 1: `n` fields, which may be
 * NULL for none, and `count` couplings as in q_qubo_create. Errors: as there.
 */
q_error_code q_qubo_create_ising(uint32_t n,
                                 const double *h,
                                 const uint32_t *i,
                                 const uint32_t *j,
                                 const double *couplings,
                                 size_t count,
                                 double offset,
                                 uint32_t sense,
                                 q_qubo **qubo);

/**
 * Reads a problem from the file at `path` (`len` bytes). `format` is a q_qubo_format. Its values are those of the file's own
 * sense. Errors: Q_ERR_NOT_FOUND; Q_ERR_IO; Q_ERR_FORMAT, which names line, expected and found; Q_ERR_INVALID_ARGUMENT when the form
 * cannot be told; Q_ERR_UNSUPPORTED.
 */
q_error_code q_qubo_load(const char *path,
                         size_t len,
                         uint32_t format,
                         q_qubo **qubo);

/**
 * What a problem is like. `size` is sizeof(q_qubo_info).
 */
q_error_code q_qubo_describe(const q_qubo *qubo, q_qubo_info *info, size_t size);

/**
 * The value of an assignment: `len` bytes at `x`, one for each variable, any but 0 counting as 1. Allocates nothing.
 * Errors: Q_ERR_SHAPE unless `len` is the number of variables.
 */
q_error_code q_qubo_energy(const q_qubo *qubo,
                           const uint8_t *x,
                           size_t len,
                           double *energy);

/**
 * Frees a problem; NULL is nothing. Solvers made of it live on.
 */
void q_qubo_free(q_qubo *qubo);

/**
 * Says how many bytes a solver will take, by class: couplings (`weights_resident`), samples (`activations`), what is searched in
 * (`scratch`), and stacks (`threads`). `params` may be NULL; `size` is sizeof(q_plan). The problem itself is q_qubo_info.bytes.
 * Errors: Q_ERR_INVALID_ARGUMENT; Q_ERR_UNSUPPORTED for a method that cannot solve it.
 */
q_error_code q_qubo_plan(const q_qubo *qubo,
                         const q_qubo_params *params,
                         q_plan *plan,
                         size_t size);

/**
 * Makes a solver: reserves everything and starts its threads. `params` may be NULL. The problem may be freed before the solver.
 * Errors: those of q_qubo_plan; Q_ERR_BUDGET, which says the need; Q_ERR_OUT_OF_MEMORY; Q_ERR_ISA.
 */
q_error_code q_qubo_solver_create(const q_qubo *qubo,
                                  const q_qubo_params *params,
                                  q_qubo_solver **solver);

/**
 * Lets the solver ask a solver of the host's where `method` is Q_QUBO_HOST: a cloud, or a device. `solve` is called on a thread of its
 * own with a buffer of its own, for half of the time limit; its answer is checked and valued from the problem, and where it fails or
 * does not come the local portfolio solves in the time that is left. A call that does not return is not waited for, by
 * q_qubo_solver_free neither: `user` and the code must stay until it has returned. NULL for `solve` takes it back.
 * Errors: Q_ERR_OUT_OF_MEMORY where no thread can be had.
 */
q_error_code q_qubo_solver_register(q_qubo_solver *solver,
                                    q_qubo_solve_fn solve,
                                    void *user);

/**
 * Solves, from the beginning each time: samples of an earlier run are forgotten. `progress` may be NULL. `result` may be NULL, with `size` 0; else sizeof(q_qubo_result). Allocates nothing. A run that is cancelled, or
 * ended by `progress`, is Q_OK with what it has.
 */
q_error_code q_qubo_solver_run(q_qubo_solver *solver,
                               q_qubo_progress_fn progress,
                               void *user,
                               q_qubo_result *result,
                               size_t size);

/**
 * Ends the run under way, or the next one, with the best so far. From any thread and from a signal handler.
 */
q_error_code q_qubo_solver_cancel(const q_qubo_solver *solver);

/**
 * The number of samples of the last run, to `n`: different ones, the best first.
 */
q_error_code q_qubo_solver_samples(q_qubo_solver *solver, uint32_t *n);

/**
 * Sample `index`, 0 being the best: `cap` bytes at `x`, a 0 or 1 for each variable. `needed` (may be NULL) receives their number,
 * `energy` (may be NULL) its value computed from the problem, and `count` (may be NULL) how many reads ended with it. Allocates
 * nothing. Errors: Q_ERR_INVALID_ARGUMENT when there is no such sample; Q_ERR_BUFFER_TOO_SMALL.
 */
q_error_code q_qubo_solver_sample(q_qubo_solver *solver,
                                  uint32_t index,
                                  uint8_t *x,
                                  size_t cap,
                                  size_t *needed,
                                  double *energy,
                                  uint64_t *count);

/**
 * The bytes that the solver reserved, by class. `size` is sizeof(q_plan).
 */
q_error_code q_qubo_solver_memory(q_qubo_solver *solver, q_plan *memory, size_t size);

/**
 * Frees a solver; NULL is nothing. Not while a call uses it.
 */
void q_qubo_solver_free(q_qubo_solver *solver);
#endif

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* QORUS_H */
