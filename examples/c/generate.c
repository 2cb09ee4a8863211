/*
 * Generates text from a GGUF file, in a loop of its own: tokens in, one token out, its text printed as it becomes whole.
 *
 *     generate MODEL.gguf PROMPT [TOKENS]           maps the file
 *     generate --memory MODEL.gguf PROMPT [TOKENS]  reads it into memory and loads it from there
 *
 * Once the context is made, the loop allocates nothing.
 */
#include "qorus.h"

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

/* The whole file, aligned as malloc aligns: models are used in place at a multiple of 16. */
static void *read_file(const char *path, size_t *len) {
    FILE *file = fopen(path, "rb");
    void *data = NULL;
    long size = -1;
    if (file && fseek(file, 0, SEEK_END) == 0) size = ftell(file);
    if (size > 0) data = malloc((size_t)size);
    if (!data || fseek(file, 0, SEEK_SET) != 0 || fread(data, 1, (size_t)size, file) != (size_t)size) {
        fprintf(stderr, "%s: cannot be read\n", path);
        exit(1);
    }
    fclose(file);
    *len = (size_t)size;
    return data;
}

int main(int argc, char **argv) {
    int from_memory = argc > 1 && strcmp(argv[1], "--memory") == 0;
    if (argc - from_memory < 3) {
        fprintf(stderr, "usage: %s [--memory] MODEL.gguf PROMPT [TOKENS]\n", argv[0]);
        return 2;
    }
    argv += from_memory;
    argc -= from_memory;
    const char *path = argv[1], *prompt = argv[2];
    unsigned long n = argc > 3 ? strtoul(argv[3], NULL, 10) : 128;

    q_runtime *runtime = NULL;
    check(q_runtime_create(NULL, &runtime));
    q_model *model = NULL;
    void *data = NULL;
    if (from_memory) {
        size_t len;
        data = read_file(path, &len);
        check(q_model_load_memory(runtime, data, len, NULL, &model));
    } else {
        check(q_model_load(runtime, path, strlen(path), NULL, &model));
    }
    q_tokenizer *tokenizer = NULL;
    check(q_tokenizer_create(model, &tokenizer));

    /* The prompt as tokens: first how many, then the tokens. */
    size_t n_prompt = 0;
    if (q_tokenizer_encode(tokenizer, prompt, strlen(prompt), Q_ENCODE_BOS, NULL, 0, &n_prompt) != Q_OK && n_prompt == 0)
        check(Q_ERR_INVALID_ARGUMENT);
    uint32_t *tokens = malloc(n_prompt * sizeof *tokens + 1);
    if (!tokens) return 1;
    check(q_tokenizer_encode(tokenizer, prompt, strlen(prompt), Q_ENCODE_BOS, tokens, n_prompt, &n_prompt));

    q_context_params params;
    check(q_context_params_init(&params, sizeof params));
    params.n_ctx = (uint32_t)(n_prompt + n);
    q_context *context = NULL;
    check(q_context_create(model, &params, &context));
    q_sampler_params how;
    check(q_sampler_params_init(&how, sizeof how));
    how.temperature = 0;
    q_sampler *sampler = NULL;
    check(q_sampler_create(model, &how, &sampler));
    q_decoder *decoder = NULL;
    check(q_decoder_create(tokenizer, Q_DECODE_CONTINUES, &decoder));

    check(q_context_append(context, 0, tokens, n_prompt));
    char text[256];
    size_t len;
    for (unsigned long i = 0; i < n; i++) {
        uint32_t token, is_end;
        check(q_sampler_sample(sampler, context, 0, &token));
        check(q_tokenizer_is_end(tokenizer, token, &is_end));
        if (is_end) break;
        check(q_sampler_accept(sampler, token));
        check(q_decoder_push(decoder, token, text, sizeof text, &len));
        fwrite(text, 1, len, stdout);
        fflush(stdout);
        check(q_context_append(context, 0, &token, 1));
    }
    check(q_decoder_finish(decoder, text, sizeof text, &len));
    fwrite(text, 1, len, stdout);
    putchar('\n');

    free(tokens);
    q_decoder_free(decoder);
    q_sampler_free(sampler);
    q_context_free(context);
    q_tokenizer_free(tokenizer);
    q_model_free(model);
    q_runtime_free(runtime);
    free(data); /* the model was used where it lay, so last */
    return 0;
}
