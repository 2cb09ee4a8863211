/*
 * Trains a small network on a table of customers, with each part of a step in the host's own hands: forward, loss, back,
 * clipping, optimizer. Then saves it, loads it again, and asks it about one customer.
 *
 *     train_table [MODEL.gguf]
 *
 * The table is made up: months as a customer, the monthly fee, calls to the support, and a contract of three kinds, which goes
 * through an embedding. Who leaves follows a rule with some chance in it.
 */
#include "qorus.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NUMBERS = 3, COLUMNS = 4, CONTRACTS = 3, EMBEDDED = 4, HIDDEN = 24, ROWS = 2000, KEPT = 400, BATCH = 64, EPOCHS = 40 };

static float table[ROWS][COLUMNS];
static int32_t left[ROWS];

static void check(q_error_code code) {
    char why[513];
    if (code == Q_OK) return;
    q_last_error(why, sizeof why, NULL);
    fprintf(stderr, "%s: %s\n", q_error_name(code), why);
    exit(1);
}

/* From 0 to below 1. */
static float chance(void) {
    static uint32_t state = 7;
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return (float)(state >> 8) / (float)(1 << 24);
}

/* Numbers come in about the same range: networks learn best from these. */
static void customer(float *row, float months, float fee, float calls, int contract) {
    row[0] = months / 36 - 1;
    row[1] = fee / 50 - 1;
    row[2] = calls / 5;
    row[3] = (float)contract; /* a category, by its number */
}

static void make_table(void) {
    for (int i = 0; i < ROWS; i++) {
        float months = 72 * chance(), fee = 100 * chance(), calls = floorf(8 * chance() * chance());
        int contract = (int)(CONTRACTS * chance());
        float drive = 1.5f - 0.06f * months + 0.02f * fee + 0.7f * calls - 1.6f * (float)contract;
        customer(table[i], months, fee, calls, contract);
        left[i] = chance() < 1 / (1 + expf(-2 * drive));
    }
}

static q_tensor wrap(uint32_t type, uint64_t rows, uint64_t cols, void *data) {
    q_tensor t;
    uint64_t dims[2];
    dims[0] = rows;
    dims[1] = cols;
    check(q_tensor_wrap(type, cols ? 2 : 1, dims, data, rows * (cols ? cols : 1) * 4, &t));
    return t;
}

/* Random weights [out][in], no larger than their number of inputs allows. The builder copies them. */
static q_tensor random_weights(float *memory, uint64_t out, uint64_t in) {
    for (uint64_t i = 0; i < out * in; i++) memory[i] = (2 * chance() - 1) * sqrtf(3.0f / (float)in);
    return wrap(Q_TYPE_F32, out, in, memory);
}

static q_model *network(q_runtime *runtime) {
    static float memory[HIDDEN * HIDDEN], zeros[HIDDEN];
    q_builder *builder = NULL;
    q_model *model = NULL;
    q_tensor w, bias = wrap(Q_TYPE_F32, HIDDEN, 0, zeros), two = wrap(Q_TYPE_F32, 2, 0, zeros);
    check(q_builder_create(runtime, &builder));
    check(q_builder_rows(builder, COLUMNS));
    w = random_weights(memory, CONTRACTS, EMBEDDED);
    check(q_builder_features(builder, &w, 1));
    w = random_weights(memory, HIDDEN, NUMBERS + EMBEDDED);
    check(q_builder_linear(builder, &w, &bias));
    check(q_builder_activation(builder, Q_ACTIVATION_SILU));
    check(q_builder_dropout(builder, 0.1f));
    w = random_weights(memory, 2, HIDDEN);
    check(q_builder_linear(builder, &w, &two));
    check(q_builder_finish(builder, &model));
    q_builder_free(builder);
    return model;
}

static q_context *context_of(const q_model *model) {
    q_context_params params;
    q_context *context = NULL;
    check(q_context_params_init(&params, sizeof params));
    params.n_ctx = params.n_batch = params.n_outputs = KEPT;
    check(q_context_create(model, &params, &context));
    return context;
}

/* The mean loss, and the share of the last KEPT customers whose choice is foreseen. */
static float judge(const q_model *model, q_context *context, float *accuracy) {
    static float logits[KEPT][2];
    q_tensor x = wrap(Q_TYPE_F32, KEPT, COLUMNS, table[ROWS - KEPT]), y = wrap(Q_TYPE_F32, KEPT, 2, logits),
             t = wrap(Q_TYPE_I32, KEPT, 0, &left[ROWS - KEPT]);
    q_loss_result result;
    check(q_model_forward(model, context, &x, &y));
    check(q_loss_compute(NULL, &y, &t, NULL, &result, sizeof result));
    *accuracy = (float)result.correct / KEPT;
    return (float)result.loss;
}

int main(int argc, char **argv) {
    const char *path = argc > 1 ? argv[1] : "customers.gguf";
    static float batch[BATCH][COLUMNS], logits[BATCH][2], slopes[BATCH][2];
    static int32_t classes[BATCH];
    int order[ROWS - KEPT];
    q_runtime *runtime = NULL;
    q_trainer_params params;
    q_trainer *trainer = NULL;
    make_table();
    check(q_runtime_create(NULL, &runtime));
    q_model *model = network(runtime);
    q_context *context = context_of(model);
    check(q_trainer_params_init(&params, sizeof params));
    params.max_rows = BATCH;
    params.max_len = 1; /* each row alone */
    check(q_trainer_create(context, &params, &trainer));

    /* The optimizer is the host's: bound to the trainer's tensors, all memory is there before the first step. */
    q_optimizer *optimizer = q_optimizer_adam_create(0.01f, 0.9f, 0.999f, 1e-8f, 0.01f, 0, context);
    if (!optimizer) check(Q_ERR_INVALID_ARGUMENT);
    q_tensor weights[8], gradients[8];
    uint32_t n = 0;
    check(q_trainer_tensors(trainer, &n));
    if (n > 8) return 1;
    for (uint32_t i = 0; i < n; i++) {
        check(q_trainer_tensor(trainer, i, &weights[i], &gradients[i]));
        check(q_optimizer_bind(optimizer, &weights[i], &gradients[i], 1, weights[i].n_dims == 1 ? Q_OPTIM_NO_DECAY : 0));
    }

    q_tensor x = wrap(Q_TYPE_F32, BATCH, COLUMNS, batch), y = wrap(Q_TYPE_F32, BATCH, 2, logits),
             dy = wrap(Q_TYPE_F32, BATCH, 2, slopes), t = wrap(Q_TYPE_I32, BATCH, 0, classes);
    for (int i = 0; i < ROWS - KEPT; i++) order[i] = i;
    for (int epoch = 1; epoch <= EPOCHS; epoch++) {
        float sum = 0, loss = 0, accuracy = 0;
        int batches = (ROWS - KEPT) / BATCH;
        for (int i = ROWS - KEPT - 1; i > 0; i--) { /* another order each time */
            int j = (int)((float)(i + 1) * chance()), other = order[i];
            order[i] = order[j];
            order[j] = other;
        }
        check(q_optimizer_set_learning_rate(optimizer, 0.01f * (1 - (float)(epoch - 1) / EPOCHS)));
        for (int b = 0; b < batches; b++) {
            for (int i = 0; i < BATCH; i++) {
                memcpy(batch[i], table[order[b * BATCH + i]], sizeof batch[i]);
                classes[i] = left[order[b * BATCH + i]];
            }
            check(q_model_forward_train(model, context, &x, &y));
            check(q_loss_crossentropy(&y, &t, &loss));
            check(q_loss_crossentropy_grad(&y, &t, &dy));
            check(q_model_backward(model, context, &dy, 0));
            check(q_grad_clip_norm(runtime, gradients, n, 1, NULL));
            for (uint32_t i = 0; i < n; i++) check(q_optimizer_step(optimizer, &weights[i], &gradients[i]));
            q_optimizer_zero_grad(optimizer);
            sum += loss;
        }
        if (epoch % 10 == 0) {
            check(q_trainer_publish(trainer, context));
            loss = judge(model, context, &accuracy);
            printf("epoch %2d: loss %.3f, of customers it has not seen %.3f, %.1f %% foreseen\n", epoch,
                   (double)(sum / (float)batches), (double)loss, (double)(100 * accuracy));
        }
    }
    check(q_trainer_export(trainer, path, strlen(path), Q_TYPE_AS_IS));
    q_optimizer_free(optimizer);
    q_trainer_free(trainer);
    q_context_free(context);
    q_model_free(model);

    check(q_model_load(runtime, path, strlen(path), NULL, &model));
    context = context_of(model);
    float asked[2][COLUMNS], answer[2][2];
    customer(asked[0], 2, 90, 5, 0);
    customer(asked[1], 60, 30, 0, 2);
    q_tensor who = wrap(Q_TYPE_F32, 2, COLUMNS, asked), what = wrap(Q_TYPE_F32, 2, 2, answer);
    check(q_model_forward(model, context, &who, &what));
    check(q_tensor_softmax(runtime, &what, &what));
    printf("%s: a new customer with five calls leaves with %.0f %%, an old one without any with %.0f %%\n", path,
           (double)(100 * answer[0][1]), (double)(100 * answer[1][1]));
    q_context_free(context);
    q_model_free(model);
    q_runtime_free(runtime);
    return answer[0][1] > 0.8f && answer[1][1] < 0.2f ? 0 : 1;
}
