/*
 * One model and one tokenizer used by several threads at once, each with a context of its own: all generate the same. And one
 * context used by two threads at once: one of them is told so, and nothing else happens.
 *
 *     threads MODEL.gguf
 */
#include "qorus.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { THREADS = 4, TOKENS = 30 };

static q_model *model;
static q_tokenizer *tokenizer;
static q_context *shared;

static void check(q_error_code code) {
    char why[513];
    if (code == Q_OK) return;
    q_last_error(why, sizeof why, NULL);
    fprintf(stderr, "%s: %s\n", q_error_name(code), why);
    exit(1);
}

struct result {
    char text[4096];
    size_t len;
    uint32_t bad; /* a token that is none, another one for each thread */
};

static int32_t on_piece(const q_piece *piece, void *user) {
    struct result *r = user;
    if (r->len + piece->text_len <= sizeof r->text) {
        memcpy(r->text + r->len, piece->text, piece->text_len);
        r->len += piece->text_len;
    }
    return 0;
}

static void *generate(void *user) {
    uint32_t prompt[32];
    size_t n;
    q_context *context = NULL;
    q_generator *generator = NULL;
    q_sampler_params greedy;
    q_generate_params params;
    check(q_tokenizer_encode(tokenizer, "hello wor", 9, Q_ENCODE_BOS, prompt, 32, &n));
    check(q_context_create(model, NULL, &context));
    check(q_sampler_params_init(&greedy, sizeof greedy));
    greedy.temperature = 0;
    check(q_generator_create(model, &greedy, NULL, 0, &generator));
    check(q_generate_params_init(&params, sizeof params));
    params.max_tokens = TOKENS;
    params.on_piece = on_piece;
    params.user = user;
    check(q_generator_run(generator, context, prompt, n, &params, NULL, 0));
    /* Each thread has its own last error. */
    char text[513], wanted[64];
    uint32_t bad = ((struct result *)user)->bad;
    if (q_context_append(context, 0, &bad, 1) != Q_ERR_INVALID_ARGUMENT) exit(2);
    check(q_last_error(text, sizeof text, NULL));
    snprintf(wanted, sizeof wanted, "token %lu ", (unsigned long)bad);
    if (strncmp(text, wanted, strlen(wanted)) != 0) {
        fprintf(stderr, "%s is another thread's error\n", text);
        exit(2);
    }
    q_generator_free(generator);
    q_context_free(context);
    return NULL;
}

static void *fight(void *user) {
    unsigned long *counts = user;
    for (int i = 0; i < 2000; i++) {
        uint32_t token = 5;
        q_error_code code = q_context_append(shared, 0, &token, 1);
        if (code == Q_OK) {
            counts[0]++;
        } else if (code == Q_ERR_STATE) {
            counts[1]++;
        } else {
            check(code);
        }
    }
    return NULL;
}

int main(int argc, char **argv) {
    q_runtime_params params;
    q_runtime *runtime = NULL;
    static struct result results[THREADS];
    pthread_t threads[THREADS];
    if (argc != 2) return 2;
    check(q_runtime_params_init(&params, sizeof params));
    params.threads = 2;
    check(q_runtime_create(&params, &runtime));
    check(q_model_load(runtime, argv[1], strlen(argv[1]), NULL, &model));
    check(q_tokenizer_create(model, &tokenizer));
    for (uint32_t i = 0; i < THREADS; i++) {
        results[i].bad = 1000000u + i;
        if (pthread_create(&threads[i], NULL, generate, &results[i]) != 0) return 3;
    }
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    for (int i = 0; i < THREADS; i++) {
        if (results[i].len == 0 || results[i].len != results[0].len ||
            memcmp(results[i].text, results[0].text, results[0].len) != 0) {
            fprintf(stderr, "thread %d generated another text\n", i);
            return 1;
        }
    }

    q_context_params context;
    unsigned long counts[2][2] = {{0, 0}, {0, 0}};
    uint32_t len;
    check(q_context_params_init(&context, sizeof context));
    context.n_ctx = 5000;
    check(q_context_create(model, &context, &shared));
    for (int i = 0; i < 2; i++)
        if (pthread_create(&threads[i], NULL, fight, counts[i]) != 0) return 3;
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    check(q_context_len(shared, 0, &len));
    if (len != counts[0][0] + counts[1][0]) {
        fprintf(stderr, "%lu tokens after %lu calls that went well\n", (unsigned long)len, counts[0][0] + counts[1][0]);
        return 1;
    }
    printf("%lu calls went well, %lu were told to wait\n", counts[0][0] + counts[1][0], counts[0][1] + counts[1][1]);
    q_context_free(shared);
    q_tokenizer_free(tokenizer);
    q_model_free(model);
    q_runtime_free(runtime);
    return 0;
}
