/*
 * Trains a small transformer on a text, byte by byte, from nothing; lets it write while it learns; saves it.
 *
 *     train_text [TEXT.txt [STEPS [MODEL.gguf]]]
 *
 * q_model_train does the loop. The host gives the batches, is told of each step, and tries the weights of the moment in the very
 * context that is trained.
 */
#include "qorus.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BYTES = 256, WIDTH = 64, HEADS = 4, KV_HEADS = 2, HEAD_DIM = 16, HIDDEN = 160, BLOCKS = 2, LEN = 64, SEQS = 8, SHOWN = 40 };

/* What it learns from unless a file is given. */
static const char sample[] =
    "The miller has a wheel, the wheel has a stream, the stream has a hill, and the hill has a spring. "
    "In the spring there is water, in the water there is a fish, and the fish has no miller at all. "
    "When the wheel turns the miller sings: turn, wheel, turn, the stream is long and the day is short. "
    "When the wheel stands the miller sleeps, and the fish goes up the stream to see what the hill is about. ";

static char *text;
static size_t text_len;

static void check(q_error_code code) {
    char why[513];
    if (code == Q_OK) return;
    q_last_error(why, sizeof why, NULL);
    fprintf(stderr, "%s: %s\n", q_error_name(code), why);
    exit(1);
}

static uint32_t scatter(uint32_t x) {
    x = (x ^ (x >> 16)) * 0x45d9f3bu;
    x = (x ^ (x >> 16)) * 0x45d9f3bu;
    return x ^ (x >> 16);
}

/* Random weights [out][in]. Their memory stays, since the program is short. */
static q_tensor matrix(uint64_t out, uint64_t in, float deviation) {
    static uint32_t number = 1;
    q_tensor t;
    uint64_t dims[2];
    dims[0] = out;
    dims[1] = in;
    float *memory = malloc(out * in * sizeof *memory);
    if (!memory) exit(1);
    for (uint64_t i = 0; i < out * in; i++) {
        float u = (float)(scatter((uint32_t)i + (number << 20)) >> 8) / (float)(1 << 24);
        memory[i] = (2 * u - 1) * 1.7f * deviation;
    }
    number++;
    check(q_tensor_wrap(Q_TYPE_F32, 2, dims, memory, out * in * sizeof *memory, &t));
    return t;
}

static q_model *transformer(q_runtime *runtime) {
    float ones[WIDTH];
    uint64_t width = WIDTH;
    q_tensor norm, table = matrix(BYTES, WIDTH, 0.05f);
    q_builder *builder = NULL;
    q_model *model = NULL;
    for (int i = 0; i < WIDTH; i++) ones[i] = 1;
    check(q_tensor_wrap(Q_TYPE_F32, 1, &width, ones, sizeof ones, &norm));
    check(q_builder_create(runtime, &builder));
    check(q_builder_embedding(builder, &table));
    for (int block = 0; block < BLOCKS; block++) {
        q_tensor q = matrix(HEADS * HEAD_DIM, WIDTH, 0.05f), k = matrix(KV_HEADS * HEAD_DIM, WIDTH, 0.05f),
                 v = matrix(KV_HEADS * HEAD_DIM, WIDTH, 0.05f), o = matrix(WIDTH, HEADS * HEAD_DIM, 0.03f),
                 gate = matrix(HIDDEN, WIDTH, 0.05f), up = matrix(HIDDEN, WIDTH, 0.05f),
                 down = matrix(WIDTH, HIDDEN, 0.03f);
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
        check(q_builder_residual_begin(builder));
        check(q_builder_rmsnorm(builder, &norm, 1e-5f));
        check(q_builder_attention(builder, &attention));
        check(q_builder_residual_end(builder));
        check(q_builder_residual_begin(builder));
        check(q_builder_rmsnorm(builder, &norm, 1e-5f));
        check(q_builder_glu(builder, Q_ACTIVATION_SILU, &gate, &up, &down));
        check(q_builder_residual_end(builder));
    }
    q_tensor head = matrix(BYTES, WIDTH, 0.05f);
    check(q_builder_rmsnorm(builder, &norm, 1e-5f));
    check(q_builder_linear(builder, &head, NULL));
    check(q_builder_finish(builder, &model));
    q_builder_free(builder);
    return model;
}

/* Pieces of the text from places that follow from the batch's number, so that a run can be gone on with. */
static int32_t batch_of(uint64_t number, q_train_batch *batch, void *user) {
    (void)user;
    for (uint32_t seq = 0; seq < SEQS; seq++) {
        size_t at = scatter((uint32_t)number * SEQS + seq) % (text_len - LEN);
        for (uint32_t i = 0; i < LEN; i++) {
            batch->tokens[seq * LEN + i] = (unsigned char)text[at + i];
            batch->targets[seq * LEN + i] = (unsigned char)text[at + i + 1];
        }
        batch->lens[seq] = LEN;
    }
    batch->n_seqs = SEQS;
    return 1;
}

/* Continues the text's first letters, always with the likeliest byte. */
static void write_some(q_context *context) {
    uint32_t token[4];
    char out[SHOWN + 1];
    for (int i = 0; i < 4; i++) token[i] = (unsigned char)text[i];
    check(q_context_truncate(context, 0, 0));
    check(q_context_append(context, 0, token, 4));
    for (int i = 0; i < SHOWN; i++) {
        float *logits = NULL;
        size_t n = 0, best = 0;
        check(q_context_logits_data(context, 0, &logits, &n));
        for (size_t j = 1; j < n; j++) {
            if (logits[j] > logits[best]) best = j;
        }
        token[0] = (uint32_t)best;
        out[i] = best >= 32 && best < 127 ? (char)best : '~';
        check(q_context_append(context, 0, token, 1));
    }
    out[SHOWN] = 0;
    printf("    %.4s%s\n", text, out);
}

static int32_t on_step(const q_train_report *report, void *user) {
    if (report->step % 50 == 0) {
        printf("step %llu: loss %.3f, %.0f %% of the bytes foreseen, rate %.2g\n", (unsigned long long)report->step,
               report->loss, 100 * report->accuracy, report->learning_rate);
        write_some(user);
    }
    return 0; /* anything else would stop after this step */
}

static void read_text(const char *path) {
    FILE *f = fopen(path, "rb");
    if (!f || fseek(f, 0, SEEK_END) != 0) {
        fprintf(stderr, "%s: cannot be read\n", path);
        exit(1);
    }
    long len = ftell(f);
    rewind(f);
    text = malloc(len > 0 ? (size_t)len : 1);
    text_len = text && len > 0 ? fread(text, 1, (size_t)len, f) : 0;
    fclose(f);
}

int main(int argc, char **argv) {
    const char *path = argc > 3 ? argv[3] : "text.gguf";
    q_runtime *runtime = NULL;
    q_context *context = NULL;
    q_trainer *trainer = NULL;
    q_context_params for_context;
    q_trainer_params for_trainer;
    q_train_params params;
    q_train_result result;
    q_plan plan;
    if (argc > 1) {
        read_text(argv[1]);
    } else {
        text = (char *)sample;
        text_len = sizeof sample - 1;
    }
    if (text_len < LEN + 2) {
        fprintf(stderr, "the text has %zu bytes: give at least %d\n", text_len, LEN + 2);
        return 1;
    }
    check(q_runtime_create(NULL, &runtime));
    q_model *model = transformer(runtime);
    check(q_context_params_init(&for_context, sizeof for_context));
    for_context.n_ctx = LEN;
    check(q_context_create(model, &for_context, &context));
    check(q_trainer_params_init(&for_trainer, sizeof for_trainer));
    for_trainer.max_rows = SEQS * LEN;
    for_trainer.max_len = LEN;
    check(q_trainer_create(context, &for_trainer, &trainer));
    check(q_trainer_memory(trainer, &plan, sizeof plan));
    printf("%llu KB for weights, gradients, moments and a pass\n", (unsigned long long)plan.total_without_mapped / 1024);

    check(q_train_params_init(&params, sizeof params));
    params.steps = argc > 2 ? strtoull(argv[2], NULL, 10) : 200;
    params.learning_rate = 0.004;
    params.floor = 0.0004;
    params.warmup = params.steps / 20;
    params.schedule = Q_SCHEDULE_COSINE;
    params.data = batch_of;
    params.on_step = on_step;
    params.user = context;
    params.publish_every = 50;
    check(q_model_train(model, context, &params, &result, sizeof result));
    check(q_trainer_export(trainer, path, strlen(path), Q_TYPE_AS_IS));
    printf("%llu steps; saved as %s\n", (unsigned long long)result.step, path);
    q_trainer_free(trainer);
    q_context_free(context);
    q_model_free(model);
    q_runtime_free(runtime);
    return 0;
}
