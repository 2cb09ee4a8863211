/*
 * Runs a model in a fixed memory budget: asks for the plan first, from the file's metadata alone; is refused with one byte
 * less; runs with exactly that many; and compares the plan with what was used.
 *
 *     budget MODEL.gguf PROMPT
 */
#include "qorus.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { THREADS = 2, MAX_PROMPT = 256 };

static void check(q_error_code code) {
    char why[513];
    if (code == Q_OK) return;
    q_last_error(why, sizeof why, NULL);
    fprintf(stderr, "%s: %s\n", q_error_name(code), why);
    exit(1);
}

static void row(const char *name, uint64_t bytes) {
    printf("%-22s%14llu\n", name, (unsigned long long)bytes);
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: %s MODEL.gguf PROMPT\n", argv[0]);
        return 2;
    }
    const char *path = argv[1], *prompt = argv[2];
    q_context_params params;
    check(q_context_params_init(&params, sizeof params));
    params.n_ctx = MAX_PROMPT + 64;
    params.n_batch = 64;
    params.kv_type = Q_TYPE_F16;

    q_plan plan;
    check(q_model_plan(path, strlen(path), &params, THREADS, &plan, sizeof plan));
    row("weights, mapped", plan.weights_mapped);
    row("weights, resident", plan.weights_resident);
    row("tokenizer", plan.tokenizer);
    row("keys and values", plan.kv_cache);
    row("activations", plan.activations);
    row("threads", plan.threads);
    row("scratch", plan.scratch);
    row("total without mapped", plan.total_without_mapped);

    q_runtime_params runtime_params;
    check(q_runtime_params_init(&runtime_params, sizeof runtime_params));
    runtime_params.threads = THREADS;
    q_runtime *runtime = NULL;
    check(q_runtime_create(&runtime_params, &runtime));
    q_model *model = NULL;
    check(q_model_load(runtime, path, strlen(path), NULL, &model));

    q_context *context = NULL;
    params.budget = plan.total_without_mapped - 1;
    if (q_context_create(model, &params, &context) != Q_ERR_BUDGET) {
        fprintf(stderr, "one byte less than the plan was not refused\n");
        return 1;
    }
    char why[513];
    check(q_last_error(why, sizeof why, NULL));
    printf("refused: %s\n", why);

    params.budget = plan.total_without_mapped;
    check(q_context_create(model, &params, &context));
    q_tokenizer *tokenizer = NULL;
    check(q_tokenizer_create(model, &tokenizer));
    uint32_t tokens[MAX_PROMPT];
    size_t n = 0;
    check(q_tokenizer_encode(tokenizer, prompt, strlen(prompt), Q_ENCODE_BOS, tokens, MAX_PROMPT, &n));
    q_generator *generator = NULL;
    check(q_generator_create(model, NULL, NULL, 0, &generator));
    q_generate_params generate;
    check(q_generate_params_init(&generate, sizeof generate));
    generate.max_tokens = 32;
    q_generate_result result;
    check(q_generator_run(generator, context, tokens, n, &generate, &result, sizeof result));

    q_plan memory;
    uint64_t high, used;
    check(q_context_memory(context, &memory, sizeof memory));
    check(q_context_high_water(context, &high));
    check(q_runtime_memory_used(runtime, &used));
    printf("%u tokens; activations: %llu of %llu bytes at most; the runtime holds %llu\n", (unsigned)result.tokens,
           (unsigned long long)high, (unsigned long long)memory.activations, (unsigned long long)used);
    if (memory.total != plan.total || high > plan.activations || used != plan.total_without_mapped) {
        fprintf(stderr, "the plan was wrong\n");
        return 1;
    }

    q_generator_free(generator);
    q_tokenizer_free(tokenizer);
    q_context_free(context);
    q_model_free(model);
    q_runtime_free(runtime);
    return 0;
}
