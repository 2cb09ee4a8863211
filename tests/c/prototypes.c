/*
 * The names and argument lists that hosts were promised. Compiled, not run: each function is assigned to a pointer of its
 * promised type.
 */
#include "qorus.h"

void *(*arena_alloc)(q_arena *, size_t) = q_arena_alloc;
size_t (*arena_used)(const q_arena *) = q_arena_used;
q_error_code (*arena_create)(size_t, q_arena **) = q_arena_create;
q_error_code (*arena_reset)(q_arena *) = q_arena_reset;
void (*arena_free)(q_arena *) = q_arena_free;
q_error_code (*model_forward)(const q_model *, q_context *, const q_tensor *, q_tensor *) = q_model_forward;
q_error_code (*last_error)(char *, size_t, size_t *) = q_last_error;
const char *(*error_name)(int32_t) = q_error_name;

#ifdef Q_ENABLE_TRAINING
q_optimizer *(*optimizer_create)(q_optimizer_type, float, q_context *) = q_optimizer_create;
q_optimizer *(*optimizer_adam_create)(float, float, float, float, float, float, q_context *) = q_optimizer_adam_create;
q_error_code (*optimizer_step)(q_optimizer *, q_tensor *, const q_tensor *) = q_optimizer_step;
void (*optimizer_zero_grad)(q_optimizer *) = q_optimizer_zero_grad;
void (*optimizer_free)(q_optimizer *) = q_optimizer_free;
typedef char optimizers_have_their_numbers[Q_OPTIM_SGD == 0 && Q_OPTIM_ADAM == 1 && Q_OPTIM_ADAMW == 2 ? 1 : -1];
q_error_code (*model_forward_train)(const q_model *, q_context *, const q_tensor *, q_tensor *) = q_model_forward_train;
q_error_code (*model_backward)(q_model *, q_context *, const q_tensor *, uint32_t) = q_model_backward;
q_error_code (*model_train)(const q_model *, q_context *, const q_train_params *, q_train_result *, size_t) = q_model_train;

typedef q_error_code loss_fn(const q_tensor *, const q_tensor *, float *);
typedef q_error_code loss_grad_fn(const q_tensor *, const q_tensor *, q_tensor *);
loss_fn *losses[] = {q_loss_mse, q_loss_crossentropy, q_loss_mse_avx2, q_loss_crossentropy_avx2};
loss_grad_fn *loss_grads[] = {q_loss_mse_grad, q_loss_crossentropy_grad, q_loss_mse_grad_avx2,
                              q_loss_crossentropy_grad_avx2};
#endif

/* The layout that other compilers and languages rely on. */
typedef char tensor_is_a_plain_view[sizeof(q_tensor) == sizeof(void *) + 6 * 8 + 6 * 8 + 4 * 4 ? 1 : -1];
typedef char tensor_has_six_dims[Q_MAX_DIMS == 6 ? 1 : -1];

int main(void) { return Q_OK; }
