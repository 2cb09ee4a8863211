/*
 * Teaches a model that lies in a file to go on with a text, through an adapter: the file stays as it is. Saves the adapter, loads it again, and
 * runs the model with none, half and all of it, changed between calls on one context.
 *
 *     finetune MODEL.gguf [TEXT [STEPS [ADAPTER.gguf]]]
 */
#include "qorus.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LEN = 48, RANK = 8, SHOWN = 16 };

static uint32_t ids[LEN + 1];
static size_t n_ids;

static void check(q_error_code code) {
    char why[513];
    if (code == Q_OK) return;
    q_last_error(why, sizeof why, NULL);
    fprintf(stderr, "%s: %s\n", q_error_name(code), why);
    exit(1);
}

/* The text, again and again. */
static int32_t batch_of(uint64_t number, q_train_batch *batch, void *user) {
    (void)number;
    (void)user;
    for (size_t i = 0; i + 1 < n_ids; i++) {
        batch->tokens[i] = ids[i];
        batch->targets[i] = (int32_t)ids[i + 1];
    }
    batch->lens[0] = (uint32_t)(n_ids - 1);
    batch->n_seqs = 1;
    return 1;
}

static int32_t on_step(const q_train_report *report, void *user) {
    uint64_t *last = user;
    if (report->step == 1 || report->step == *last) {
        printf("step %llu: loss %.3f\n", (unsigned long long)report->step, report->loss);
    }
    return 0; /* anything else would stop after this step */
}

/* Likeliest tokens after the text's first. */
static void go_on(q_context *context, q_tokenizer *tokenizer, const char *what) {
    char piece[64];
    uint32_t token = ids[1];
    check(q_context_truncate(context, 0, 0));
    check(q_context_append(context, 0, ids, 2));
    printf("%s:", what);
    for (int i = 0; i < SHOWN; i++) {
        float *logits = NULL;
        size_t n = 0, len = 0, best = 0;
        check(q_context_logits_data(context, 0, &logits, &n));
        for (size_t j = 1; j < n; j++) {
            if (logits[j] > logits[best]) best = j;
        }
        token = (uint32_t)best;
        if (q_tokenizer_piece(tokenizer, token, 0, piece, sizeof piece, &len) == Q_OK) printf("%.*s", (int)len, piece);
        check(q_context_append(context, 0, &token, 1));
    }
    printf("\n");
}

int main(int argc, char **argv) {
    const char *text = argc > 2 ? argv[2] : "the miller has a wheel and the wheel has a stream";
    const char *path = argc > 4 ? argv[4] : "adapter.gguf";
    q_runtime *runtime = NULL;
    q_model *model = NULL;
    q_tokenizer *tokenizer = NULL;
    q_context *context = NULL;
    q_trainer *trainer = NULL;
    q_adapter *adapter = NULL;
    q_adapter_info info;
    q_context_params for_context;
    q_trainer_params for_trainer;
    q_train_params params;
    q_train_result result;
    q_plan plan;
    if (argc < 2) {
        fprintf(stderr, "usage: %s MODEL.gguf [TEXT [STEPS [ADAPTER.gguf]]]\n", argv[0]);
        return 2;
    }
    check(q_runtime_create(NULL, &runtime));
    check(q_model_load(runtime, argv[1], strlen(argv[1]), NULL, &model));
    check(q_tokenizer_create(model, &tokenizer));
    check(q_tokenizer_encode(tokenizer, text, strlen(text), Q_ENCODE_BOS, ids, LEN + 1, &n_ids));
    if (n_ids < 3) {
        fprintf(stderr, "the text has %zu tokens: give more\n", n_ids);
        return 1;
    }

    check(q_context_params_init(&for_context, sizeof for_context));
    for_context.n_ctx = LEN + SHOWN;
    for_context.adapters = 1;
    for_context.adapter_rank = RANK;
    check(q_context_create(model, &for_context, &context));
    check(q_trainer_params_init(&for_trainer, sizeof for_trainer));
    for_trainer.max_rows = LEN;
    for_trainer.adapter_rank = RANK;
    for_trainer.adapter_targets = "q,k,v,o,gate,up,down";
    check(q_trainer_create(context, &for_trainer, &trainer));
    check(q_trainer_memory(trainer, &plan, sizeof plan));
    printf("%llu KB beside the file, %llu of them the adapter\n", (unsigned long long)plan.total_without_mapped / 1024,
           (unsigned long long)plan.adapters / 1024);
    check(q_train_params_init(&params, sizeof params));
    params.steps = argc > 3 ? strtoull(argv[3], NULL, 10) : 40;
    params.learning_rate = 0.01;
    params.data = batch_of;
    params.on_step = on_step;
    params.user = &params.steps;
    check(q_model_train(model, context, &params, &result, sizeof result));
    check(q_trainer_export_adapter(trainer, path, strlen(path)));
    q_trainer_free(trainer);

    check(q_adapter_load(model, path, strlen(path), 0, &adapter));
    check(q_adapter_get_info(adapter, &info, sizeof info));
    printf("saved as %s: rank %u\n", path, (unsigned)info.rank);
    go_on(context, tokenizer, "without");
    check(q_adapter_attach(adapter, context, 0.5f));
    go_on(context, tokenizer, "half");
    check(q_adapter_attach(adapter, context, 1));
    go_on(context, tokenizer, "all");
    check(q_adapter_detach(adapter, context));
    go_on(context, tokenizer, "without");
    q_adapter_free(adapter);
    q_context_free(context);
    q_tokenizer_free(tokenizer);
    q_model_free(model);
    q_runtime_free(runtime);
    return 0;
}
