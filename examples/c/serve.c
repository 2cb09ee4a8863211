/*
 * Serves several texts at once: each is a sequence of one context, and every pass decodes one token of each, so that a
 * weight is read once for all of them. Every text is the one that it would be alone.
 *
 *     serve MODEL.gguf TOKENS PROMPT...
 */
#include "qorus.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST 16

static void check(q_error_code code) {
    char why[513];
    if (code == Q_OK) return;
    q_last_error(why, sizeof why, NULL);
    fprintf(stderr, "%s: %s\n", q_error_name(code), why);
    exit(1);
}

/* One text. */
struct text {
    q_sampler *sampler;
    q_decoder *decoder;
    char out[8192];
    size_t len;
    uint32_t position, token;
    int done;
};

/* Chooses the next token of a text by the logits of `row` and writes it down; `bos` begins another text. */
static void choose(struct text *t, q_context *context, uint32_t row, const q_tokenizer *tokenizer, uint32_t bos) {
    uint32_t end;
    size_t n;
    check(q_sampler_sample(t->sampler, context, row, &t->token));
    check(q_sampler_accept(t->sampler, t->token));
    check(q_tokenizer_is_end(tokenizer, t->token, &end));
    if (end || t->token == bos) {
        t->done = 1;
        return;
    }
    check(q_decoder_push(t->decoder, t->token, t->out + t->len, sizeof t->out - t->len, &n));
    t->len += n;
}

int main(int argc, char **argv) {
    if (argc < 4 || argc - 3 > MOST) {
        fprintf(stderr, "usage: %s MODEL.gguf TOKENS PROMPT... (at most %d)\n", argv[0], MOST);
        return 2;
    }
    const uint32_t seqs = (uint32_t)(argc - 3);
    const unsigned long tokens = strtoul(argv[2], NULL, 10);
    q_runtime *runtime = NULL;
    q_model *model = NULL;
    q_tokenizer *tokenizer = NULL;
    check(q_runtime_create(NULL, &runtime));
    check(q_model_load(runtime, argv[1], strlen(argv[1]), NULL, &model));
    check(q_tokenizer_create(model, &tokenizer));
    q_tokenizer_info info;
    check(q_tokenizer_get_info(tokenizer, &info, sizeof info));

    /* A sequence, and a row of logits in each pass, for every text. */
    q_context_params params;
    check(q_context_params_init(&params, sizeof params));
    params.n_ctx = 512;
    params.n_seqs = seqs;
    params.n_outputs = seqs;
    q_context *context = NULL;
    check(q_context_create(model, &params, &context));
    q_batch *batch = NULL;
    check(q_batch_create(seqs, &batch));

    static struct text texts[MOST];
    for (uint32_t s = 0; s < seqs; s++) {
        struct text *t = &texts[s];
        q_sampler_params sampling;
        uint32_t prompt[256];
        size_t n;
        check(q_sampler_params_init(&sampling, sizeof sampling));
        sampling.temperature = 0;
        check(q_sampler_create(model, &sampling, &t->sampler));
        check(q_decoder_create(tokenizer, Q_DECODE_CONTINUES, &t->decoder));
        check(q_tokenizer_encode(tokenizer, argv[3 + s], strlen(argv[3 + s]), Q_ENCODE_BOS, prompt, 256, &n));
        check(q_context_append(context, s, prompt, n));
        t->position = (uint32_t)n;
        choose(t, context, 0, tokenizer, info.bos);
    }
    for (unsigned long i = 1; i < tokens; i++) {
        uint32_t row = 0;
        check(q_batch_clear(batch));
        for (uint32_t s = 0; s < seqs; s++)
            if (!texts[s].done && texts[s].position < params.n_ctx)
                check(q_batch_add(batch, texts[s].token, s, texts[s].position++, 1));
            else
                texts[s].done = 1;
        size_t rows;
        check(q_batch_len(batch, &rows));
        if (rows == 0) break;
        check(q_context_decode(context, batch));
        /* The rows of logits come in the order of the batch. */
        for (uint32_t s = 0; s < seqs; s++)
            if (!texts[s].done) choose(&texts[s], context, row++, tokenizer, info.bos);
    }
    for (uint32_t s = 0; s < seqs; s++) {
        printf("%.*s\n", (int)texts[s].len, texts[s].out);
        q_sampler_free(texts[s].sampler);
        q_decoder_free(texts[s].decoder);
    }
    q_batch_free(batch);
    q_context_free(context);
    q_tokenizer_free(tokenizer);
    q_model_free(model);
    q_runtime_free(runtime);
    return 0;
}
