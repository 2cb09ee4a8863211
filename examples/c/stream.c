/*
 * Streams text through a callback, and stops it from another thread.
 *
 *     stream MODEL.gguf PROMPT [PIECES]   cancels after so many pieces; without, when Enter is pressed
 */
#include "qorus.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void check(q_error_code code) {
    char why[513];
    if (code == Q_OK) return;
    q_last_error(why, sizeof why, NULL);
    fprintf(stderr, "%s: %s\n", q_error_name(code), why);
    exit(1);
}

struct stream {
    q_context *context;
    unsigned long pieces, stop_after;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int wanted, sent;
};

/* One token: print its text. When it was the last one that is wanted, wait for the other thread to cancel. */
static int32_t on_piece(const q_piece *piece, void *user) {
    struct stream *s = user;
    fwrite(piece->text, 1, piece->text_len, stdout);
    fflush(stdout);
    if (++s->pieces == s->stop_after) {
        pthread_mutex_lock(&s->lock);
        s->wanted = 1;
        pthread_cond_broadcast(&s->changed);
        while (!s->sent) pthread_cond_wait(&s->changed, &s->lock);
        pthread_mutex_unlock(&s->lock);
    }
    return 0; /* go on; the cancel is seen by the library */
}

static void *canceller(void *user) {
    struct stream *s = user;
    if (s->stop_after == 0) {
        getchar();
        q_context_cancel(s->context);
        return NULL;
    }
    pthread_mutex_lock(&s->lock);
    while (!s->wanted) pthread_cond_wait(&s->changed, &s->lock);
    q_context_cancel(s->context);
    s->sent = 1;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

/* The library's log, one record a line. */
static void on_log(uint32_t level, const char *text, size_t len, void *user) {
    (void)user;
    fprintf(stderr, "%s %.*s\n", level == Q_LOG_WARN ? "warning:" : "info:", (int)len, text);
}

int main(int argc, char **argv) {
    if (argc < 3) {
        fprintf(stderr, "usage: %s MODEL.gguf PROMPT [PIECES]\n", argv[0]);
        return 2;
    }
    q_runtime_params runtime_params;
    check(q_runtime_params_init(&runtime_params, sizeof runtime_params));
    runtime_params.log = on_log;
    q_runtime *runtime = NULL;
    check(q_runtime_create(&runtime_params, &runtime));
    q_model *model = NULL;
    check(q_model_load(runtime, argv[1], strlen(argv[1]), NULL, &model));
    q_tokenizer *tokenizer = NULL;
    check(q_tokenizer_create(model, &tokenizer));
    static uint32_t prompt[4096];
    size_t n = 0;
    check(q_tokenizer_encode(tokenizer, argv[2], strlen(argv[2]), Q_ENCODE_BOS, prompt, 4096, &n));

    q_context_params context_params;
    check(q_context_params_init(&context_params, sizeof context_params));
    context_params.n_ctx = 4096;
    q_context *context = NULL;
    check(q_context_create(model, &context_params, &context));
    q_text stop = {"\n\n", 2};
    q_generator *generator = NULL;
    check(q_generator_create(model, NULL, &stop, 1, &generator));

    struct stream s = {context, 0, argc > 3 ? strtoul(argv[3], NULL, 10) : 0, PTHREAD_MUTEX_INITIALIZER,
                       PTHREAD_COND_INITIALIZER, 0, 0};
    pthread_t thread;
    if (pthread_create(&thread, NULL, canceller, &s) != 0) return 1;

    q_generate_params params;
    check(q_generate_params_init(&params, sizeof params));
    params.max_tokens = 4000;
    params.on_piece = on_piece;
    params.user = &s;
    q_generate_result result;
    q_error_code code = q_generator_run(generator, context, prompt, n, &params, &result, sizeof result);
    putchar('\n');
    if (code == Q_ERR_CANCELLED) {
        uint32_t len;
        check(q_context_len(context, 0, &len));
        printf("[cancelled after %lu pieces; the sequence has %lu tokens]\n", s.pieces, (unsigned long)len);
    } else {
        check(code);
        printf("[outcome %u, %u tokens, %.1f per second]\n", (unsigned)result.outcome, (unsigned)result.tokens,
               result.decode_ns ? (result.tokens - 1.0) * 1e9 / (double)result.decode_ns : 0.0);
        /* The other thread waits for pieces that will not come. */
        pthread_mutex_lock(&s.lock);
        s.wanted = 1;
        pthread_cond_broadcast(&s.changed);
        pthread_mutex_unlock(&s.lock);
    }
    pthread_join(thread, NULL);

    q_generator_free(generator);
    q_context_free(context);
    q_tokenizer_free(tokenizer);
    q_model_free(model);
    q_runtime_free(runtime);
    return 0;
}
