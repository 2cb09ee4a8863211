/*
 * Builds networks by hand, from weights in an arena, and runs them.
 *
 *     network
 *
 * The first is the smallest there is to see: exclusive or, of two hidden units. The second is a block of a transformer
 * over rows of numbers, with grouped-query attention, rotary embedding and SwiGLU; its weights are made up, and stored
 * as 8-bit blocks, which the network computes on as they are.
 */
#include "qorus.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WIDTH = 64, HEADS = 4, KV_HEADS = 2, HEAD_DIM = 16, HIDDEN = 96, ROWS = 10 };

static void check(q_error_code code) {
    char why[513];
    if (code == Q_OK) return;
    q_last_error(why, sizeof why, NULL);
    fprintf(stderr, "%s: %s\n", q_error_name(code), why);
    exit(1);
}

/* A tensor over the host's own numbers. */
static q_tensor wrap(float *data, uint64_t rows, uint64_t cols) {
    q_tensor t;
    uint64_t dims[2] = {rows, cols};
    check(q_tensor_wrap(Q_TYPE_F32, 2, dims, data, rows * cols * sizeof *data, &t));
    return t;
}

static q_tensor row(float *data, uint64_t n) {
    q_tensor t;
    check(q_tensor_wrap(Q_TYPE_F32, 1, &n, data, n * sizeof *data, &t));
    return t;
}

static q_tensor alloc(q_arena *arena, uint32_t type, uint64_t rows, uint64_t cols) {
    q_tensor t;
    uint64_t dims[2] = {rows, cols};
    check(q_tensor_alloc(arena, type, 2, dims, &t));
    return t;
}

/* Weights [out][in] that mean nothing, as 8-bit blocks. */
static q_tensor made_up(q_runtime *runtime, q_arena *arena, uint64_t out, uint64_t in) {
    static uint32_t state = 1;
    q_tensor plain = alloc(arena, Q_TYPE_F32, out, in), blocks = alloc(arena, Q_TYPE_Q8_0, out, in);
    float *w = plain.data;
    for (uint64_t i = 0; i < out * in; i++) {
        state = state * 1664525u + 1013904223u;
        w[i] = ((float)(state >> 8) / (float)(1 << 24) - 0.5f) * 2.0f / sqrtf((float)in);
    }
    check(q_tensor_convert(runtime, &plain, &blocks));
    return blocks;
}

static q_context *context_of(const q_model *model, uint32_t rows) {
    q_context_params params;
    check(q_context_params_init(&params, sizeof params));
    params.n_ctx = params.n_outputs = rows;
    q_context *context = NULL;
    check(q_context_create(model, &params, &context));
    return context;
}

static void exclusive_or(q_runtime *runtime) {
    float w1[4] = {1, 1, 1, 1}, b1[2] = {0, -1}, w2[2] = {1, -2}, x[8] = {0, 0, 0, 1, 1, 0, 1, 1}, y[4];
    q_tensor hidden = wrap(w1, 2, 2), bias = row(b1, 2), out = wrap(w2, 1, 2);
    q_builder *builder = NULL;
    check(q_builder_create(runtime, &builder));
    check(q_builder_rows(builder, 2));
    check(q_builder_linear(builder, &hidden, &bias));
    check(q_builder_activation(builder, Q_ACTIVATION_RELU));
    check(q_builder_linear(builder, &out, NULL));
    q_model *model = NULL;
    check(q_builder_finish(builder, &model));
    q_builder_free(builder);

    q_context *context = context_of(model, 4);
    q_tensor input = wrap(x, 4, 2), output = wrap(y, 4, 1);
    check(q_model_forward(model, context, &input, &output));
    for (int i = 0; i < 4; i++) {
        printf("%g xor %g = %g\n", (double)x[2 * i], (double)x[2 * i + 1], (double)y[i]);
        if (y[i] != (float)((int)x[2 * i] ^ (int)x[2 * i + 1])) exit(1);
    }
    q_context_free(context);
    q_model_free(model);
}

static void transformer_block(q_runtime *runtime) {
    q_arena *arena = NULL;
    check(q_arena_create(1 << 20, &arena));
    float ones[WIDTH];
    for (int i = 0; i < WIDTH; i++) ones[i] = 1;
    q_tensor norm = row(ones, WIDTH);

    q_tensor q = made_up(runtime, arena, HEADS * HEAD_DIM, WIDTH), k = made_up(runtime, arena, KV_HEADS * HEAD_DIM, WIDTH),
             v = made_up(runtime, arena, KV_HEADS * HEAD_DIM, WIDTH), o = made_up(runtime, arena, WIDTH, HEADS * HEAD_DIM),
             gate = made_up(runtime, arena, HIDDEN, WIDTH), up = made_up(runtime, arena, HIDDEN, WIDTH),
             down = made_up(runtime, arena, WIDTH, HIDDEN);
    q_attention_params attention;
    check(q_attention_params_init(&attention, sizeof attention));
    attention.n_head = HEADS;
    attention.n_kv = KV_HEADS;
    attention.head_dim = HEAD_DIM;
    attention.rope_style = Q_ROPE_NEOX;
    attention.q = &q;
    attention.k = &k;
    attention.v = &v;
    attention.o = &o;

    q_builder *builder = NULL;
    check(q_builder_create(runtime, &builder));
    check(q_builder_rows(builder, WIDTH));
    check(q_builder_residual_begin(builder));
    check(q_builder_rmsnorm(builder, &norm, 1e-5f));
    check(q_builder_attention(builder, &attention));
    check(q_builder_residual_end(builder));
    check(q_builder_residual_begin(builder));
    check(q_builder_rmsnorm(builder, &norm, 1e-5f));
    check(q_builder_glu(builder, Q_ACTIVATION_SILU, &gate, &up, &down));
    check(q_builder_residual_end(builder));
    q_model *model = NULL;
    check(q_builder_finish(builder, &model));
    q_builder_free(builder);
    printf("%zu of the arena's bytes used for weights, which the model has copied\n", q_arena_used(arena));
    check(q_arena_reset(arena));

    q_context *context = context_of(model, ROWS);
    q_tensor input = alloc(arena, Q_TYPE_F32, ROWS, WIDTH), all = alloc(arena, Q_TYPE_F32, ROWS, WIDTH),
             last = alloc(arena, Q_TYPE_F32, 1, WIDTH);
    uint64_t width = WIDTH;
    check(q_tensor_reshape(&last, 1, &width, &last));
    for (int i = 0; i < ROWS * WIDTH; i++) ((float *)input.data)[i] = sinf((float)i);
    check(q_model_forward(model, context, &input, &all));
    check(q_model_forward(model, context, &input, &last));
    float *y = all.data;
    printf("row %d: %g %g %g ...\n", ROWS - 1, (double)y[(ROWS - 1) * WIDTH], (double)y[(ROWS - 1) * WIDTH + 1],
           (double)y[(ROWS - 1) * WIDTH + 2]);
    if (memcmp(y + (ROWS - 1) * WIDTH, last.data, sizeof ones) != 0) exit(1);

    /* Row by row, each seeing those before it: the same bits. */
    check(q_context_truncate(context, 0, 0));
    for (int i = 0; i < ROWS; i++) {
        float one[WIDTH];
        check(q_context_append_rows(context, (float *)input.data + i * WIDTH, 1));
        check(q_context_logits(context, 0, one, WIDTH, NULL));
        if (memcmp(one, y + i * WIDTH, sizeof one) != 0) {
            fprintf(stderr, "row %d differs when it comes alone\n", i);
            exit(1);
        }
    }
    printf("row by row: the same bits\n");
    q_context_free(context);
    q_model_free(model);
    q_arena_free(arena);
}

int main(void) {
    q_runtime *runtime = NULL;
    check(q_runtime_create(NULL, &runtime));
    exclusive_or(runtime);
    transformer_block(runtime);
    q_runtime_free(runtime);
    return 0;
}
