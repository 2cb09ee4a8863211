/*
 * Every function of qorus.h called wrongly: NULL for each pointer, sizes that are too small or nonsense, handles of another
 * type, calls in the wrong order and from callbacks. Each must say what is wrong by its code and leave the rest alone.
 *
 *     misuse LLAMA.gguf QWEN2.gguf FOLDER
 */
#include "qorus.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int failures;

static void expect(int line, const char *what, int32_t expected, int32_t found) {
    char why[513] = "";
    if (found == expected) return;
    q_last_error(why, sizeof why, NULL);
    printf("line %d: %s: expected %s, found %s: %s\n", line, what, q_error_name(expected), q_error_name(found), why);
    failures++;
}

#define IS(code, call) expect(__LINE__, #call, code, call)
#define OK(call) IS(Q_OK, call)
#define NO(call) IS(Q_ERR_INVALID_ARGUMENT, call)
#define TRUE(x)                                               \
    do {                                                      \
        if (!(x)) {                                           \
            printf("line %d: %s is not so\n", __LINE__, #x);  \
            failures++;                                       \
        }                                                     \
    } while (0)

static const char *path, *other_path, *folder;
static q_runtime *runtime;
static q_model *model;
static q_tokenizer *tokenizer;
static q_context *context;

/* A pointer to something that is no handle. */
static uint64_t junk[16] = {1, 2, 3};

static void test_errors(void) {
    char text[513];
    size_t needed = 0;
    TRUE(q_abi_version() == Q_ABI_VERSION);
    TRUE(strchr(q_version_string(), '.') != NULL);
    TRUE(strcmp(q_error_name(Q_OK), "Q_OK") == 0);
    TRUE(strcmp(q_error_name(Q_ERR_ISA), "Q_ERR_ISA") == 0);
    TRUE(strcmp(q_error_name(-1), "unknown code") == 0);
    TRUE(strcmp(q_error_name(18), "unknown code") == 0);
    OK(q_last_error(text, sizeof text, &needed));
    TRUE(needed == 1 && text[0] == 0);
    IS(Q_ERR_NOT_FOUND, q_tokenizer_load("nothing", 7, (q_tokenizer **)&junk[8]));
    TRUE(junk[8] == 0);
    IS(Q_ERR_BUFFER_TOO_SMALL, q_last_error(NULL, 0, &needed));
    TRUE(needed == strlen("nothing: no such file") + 1);
    memset(text, 'x', sizeof text);
    IS(Q_ERR_BUFFER_TOO_SMALL, q_last_error(text, needed - 1, NULL));
    TRUE(text[0] == 'x');
    NO(q_last_error(NULL, 5, NULL));
    OK(q_last_error(text, needed, NULL));
    TRUE(strcmp(text, "nothing: no such file") == 0);
}

static void test_params(void) {
    struct {
        q_runtime_params known;
        uint64_t later[2];
    } longer;
    q_runtime_params p;
    q_runtime *out = (q_runtime *)junk;
    NO(q_runtime_params_init(NULL, sizeof p));
    IS(Q_ERR_ABI, q_runtime_params_init(&p, 0));
    IS(Q_ERR_ABI, q_runtime_params_init(&p, 13));
    IS(Q_ERR_ABI, q_runtime_params_init(&p, 1u << 20));
    OK(q_runtime_params_init(&p, 8));
    TRUE(p.size == 8);
    memset(&p, 0, sizeof p);
    IS(Q_ERR_ABI, q_runtime_create(&p, &out));
    memset(&p, 0xff, sizeof p);
    IS(Q_ERR_ABI, q_runtime_create(&p, &out));
    TRUE(out == (q_runtime *)junk);

    /* An older host: only the first two fields. */
    OK(q_runtime_params_init(&p, sizeof p));
    p.pin = 2;
    IS(Q_ERR_INVALID_ARGUMENT, q_runtime_create(&p, &out));
    p.pin = 0;
    p.bf16 = 2;
    NO(q_runtime_create(&p, &out));
    p.bf16 = 0;
    p.size = 8;
    p.threads = 1;
    p.isa = 99;
    OK(q_runtime_create(&p, &out));
    q_runtime_free(out);
    /* A newer one. */
    OK(q_runtime_params_init(&longer.known, sizeof longer));
    TRUE(longer.known.size == sizeof longer && longer.later[0] == 0 && longer.later[1] == 0);
    longer.known.threads = 1;
    OK(q_runtime_create(&longer.known, &out));
    q_runtime_free(out);
    out = NULL;
    longer.later[1] = 1;
    IS(Q_ERR_ABI, q_runtime_create(&longer.known, &out));

    OK(q_runtime_params_init(&p, sizeof p));
    p.isa = 99;
    NO(q_runtime_create(&p, &out));
    p.isa = Q_ISA_AUTO;
    p.threads = 100000;
    NO(q_runtime_create(&p, &out));
    p.threads = 4;
    p.memory_limit = 1000;
    IS(Q_ERR_BUDGET, q_runtime_create(&p, &out));
    TRUE(out == NULL);
}

static void test_runtime(void) {
    uint32_t threads = 0, isa = 0;
    uint64_t bytes;
    NO(q_runtime_create(NULL, NULL));
    NO(q_runtime_info(NULL, &threads, &isa));
    NO(q_runtime_info(runtime, NULL, &isa));
    NO(q_runtime_info(runtime, &threads, NULL));
    NO(q_runtime_info((q_runtime *)model, &threads, &isa));
    NO(q_runtime_info((q_runtime *)junk, &threads, &isa));
    NO(q_runtime_info((q_runtime *)((char *)junk + 1), &threads, &isa));
    OK(q_runtime_info(runtime, &threads, &isa));
    TRUE(threads == 2 && isa >= Q_ISA_SCALAR && isa <= Q_ISA_AVX512BF16);
    NO(q_runtime_memory_used(NULL, &bytes));
    NO(q_runtime_memory_used(runtime, NULL));
    q_runtime_free(NULL);
    q_runtime_free((q_runtime *)model);
}

static void *slurp(const char *name, size_t *len) {
    FILE *f = fopen(name, "rb");
    char *data = malloc(1 << 20);
    if (!f || !data) exit(3);
    *len = fread(data, 1, 1 << 20, f);
    fclose(f);
    return data;
}

static void test_model(void) {
    size_t len = strlen(path), n, needed = 0;
    q_model *out = NULL;
    q_model_params p;
    q_model_info info;
    q_plan plan;
    q_context_params c;
    char text[64];
    NO(q_model_params_init(NULL, sizeof p));
    IS(Q_ERR_ABI, q_model_params_init(&p, 3));
    OK(q_model_params_init(&p, sizeof p));
    p.copy = 2;
    NO(q_model_load(runtime, path, len, &p, &out));
    NO(q_model_load(NULL, path, len, NULL, &out));
    NO(q_model_load(runtime, NULL, len, NULL, &out));
    NO(q_model_load(runtime, path, 0, NULL, &out));
    NO(q_model_load(runtime, path, len, NULL, NULL));
    NO(q_model_load(runtime, path, len + 1, NULL, &out));
    IS(Q_ERR_NOT_FOUND, q_model_load(runtime, path, len - 1, NULL, &out));
    NO(q_model_load(runtime, folder, strlen(folder), NULL, &out));
    TRUE(out == NULL);
    p.copy = 1;
    OK(q_model_load(runtime, path, len, &p, &out));
    q_model_free(out);
    out = NULL;

    char *data = slurp(path, &n);
    NO(q_model_load_memory(NULL, data, n, NULL, &out));
    NO(q_model_load_memory(runtime, NULL, n, NULL, &out));
    NO(q_model_load_memory(runtime, data, n, NULL, NULL));
    NO(q_model_load_memory(runtime, data, (size_t)-1, NULL, &out));
    IS(Q_ERR_FORMAT, q_model_load_memory(runtime, data, 0, NULL, &out));
    IS(Q_ERR_FORMAT, q_model_load_memory(runtime, data, n / 2, NULL, &out));
    IS(Q_ERR_FORMAT, q_model_load_memory(runtime, data + 1, n - 1, NULL, &out));
    TRUE(out == NULL);
    OK(q_model_load_memory(runtime, data, n, &p, &out)); /* copied */
    free(data);
    q_model_free(out);

    NO(q_model_get_info(NULL, &info, sizeof info));
    NO(q_model_get_info(model, NULL, sizeof info));
    IS(Q_ERR_ABI, q_model_get_info(model, &info, 0));
    NO(q_model_get_info((q_model *)runtime, &info, sizeof info));
    OK(q_model_get_info(model, &info, sizeof info));
    TRUE(info.vocab == 98 && info.out_width == 98 && info.in_width == 0 && info.has_tokenizer == 1);

    const char *key = "general.architecture";
    NO(q_model_metadata(NULL, key, 20, text, sizeof text, &needed));
    NO(q_model_metadata(model, NULL, 20, text, sizeof text, &needed));
    NO(q_model_metadata(model, key, 20, NULL, sizeof text, &needed));
    NO(q_model_metadata(model, "\xff", 1, text, sizeof text, &needed));
    IS(Q_ERR_NOT_FOUND, q_model_metadata(model, key, 7, text, sizeof text, &needed));
    IS(Q_ERR_UNSUPPORTED, q_model_metadata(model, "tokenizer.ggml.tokens", 21, text, sizeof text, &needed));
    IS(Q_ERR_BUFFER_TOO_SMALL, q_model_metadata(model, key, 20, text, 4, &needed));
    TRUE(needed == 5);
    OK(q_model_metadata(model, key, 20, text, sizeof text, NULL));
    TRUE(memcmp(text, "llama", 5) == 0);

    OK(q_context_params_init(&c, sizeof c));
    NO(q_model_plan(NULL, len, &c, 1, &plan, sizeof plan));
    NO(q_model_plan(path, len, &c, 1, NULL, sizeof plan));
    IS(Q_ERR_ABI, q_model_plan(path, len, &c, 1, &plan, 1));
    NO(q_model_plan(path, len, &c, 5000, &plan, sizeof plan));
    c.n_ctx = 0xffffffffu;
    NO(q_model_plan(path, len, &c, 1, &plan, sizeof plan));
    c.n_ctx = 8;
    c.budget = 1;
    IS(Q_ERR_BUDGET, q_model_plan(path, len, &c, 1, &plan, sizeof plan));
    TRUE(plan.total_without_mapped > 1);
    OK(q_model_plan(path, len, NULL, 0, &plan, sizeof plan));
    q_model_free(NULL);
    q_model_free((q_model *)junk);
}

static void test_tokenizer(void) {
    q_tokenizer *out = NULL;
    q_tokenizer_info info;
    q_decoder *decoder = NULL;
    uint32_t tokens[32], is_end = 7;
    char text[64];
    size_t n = 99, len = strlen(path);
    NO(q_tokenizer_create(NULL, &out));
    NO(q_tokenizer_create(model, NULL));
    NO(q_tokenizer_load(NULL, len, &out));
    NO(q_tokenizer_load(path, len, NULL));
    OK(q_tokenizer_load(path, len, &out));
    q_tokenizer_free(out);
    NO(q_tokenizer_get_info(NULL, &info, sizeof info));
    NO(q_tokenizer_get_info(tokenizer, NULL, sizeof info));
    IS(Q_ERR_ABI, q_tokenizer_get_info(tokenizer, &info, 7));
    OK(q_tokenizer_get_info(tokenizer, &info, sizeof info));
    TRUE(info.vocab == 98);
    NO(q_tokenizer_is_end(NULL, 0, &is_end));
    NO(q_tokenizer_is_end(tokenizer, 0, NULL));
    OK(q_tokenizer_is_end(tokenizer, 0xffffffffu, &is_end));
    TRUE(is_end == 0);

    NO(q_tokenizer_encode(NULL, "abc", 3, 0, tokens, 32, &n));
    NO(q_tokenizer_encode(tokenizer, NULL, 3, 0, tokens, 32, &n));
    NO(q_tokenizer_encode(tokenizer, "abc", 3, 0, NULL, 32, &n));
    NO(q_tokenizer_encode(tokenizer, "abc", 3, 4, tokens, 32, &n));
    NO(q_tokenizer_encode(tokenizer, "a\xc3", 2, 0, tokens, 32, &n));
    IS(Q_ERR_BUFFER_TOO_SMALL, q_tokenizer_encode(tokenizer, "abc", 3, 0, NULL, 0, &n));
    tokens[0] = 12345;
    IS(Q_ERR_BUFFER_TOO_SMALL, q_tokenizer_encode(tokenizer, "abc", 3, 0, tokens, n - 1, &n));
    TRUE(tokens[0] == 12345);
    OK(q_tokenizer_encode(tokenizer, "abc", 3, 0, tokens, n, NULL));
    OK(q_tokenizer_encode(tokenizer, NULL, 0, 0, NULL, 0, &n));
    OK(q_tokenizer_encode(tokenizer, "abc", 3, 0, tokens, 32, &n));

    size_t bytes = 0;
    NO(q_tokenizer_decode(NULL, tokens, n, 0, text, sizeof text, &bytes));
    NO(q_tokenizer_decode(tokenizer, NULL, n, 0, text, sizeof text, &bytes));
    NO(q_tokenizer_decode(tokenizer, tokens, n, 0, NULL, sizeof text, &bytes));
    NO(q_tokenizer_decode(tokenizer, tokens, n, 2, text, sizeof text, &bytes));
    IS(Q_ERR_BUFFER_TOO_SMALL, q_tokenizer_decode(tokenizer, tokens, n, 0, text, 2, &bytes));
    OK(q_tokenizer_decode(tokenizer, tokens, n, 0, text, bytes, NULL));
    TRUE(bytes == 3 && memcmp(text, "abc", 3) == 0);
    tokens[1] = 98;
    NO(q_tokenizer_decode(tokenizer, tokens, n, 0, text, sizeof text, &bytes));

    NO(q_tokenizer_piece(NULL, tokens[0], 0, text, sizeof text, &bytes));
    NO(q_tokenizer_piece(tokenizer, tokens[0], 0, NULL, sizeof text, &bytes));
    NO(q_tokenizer_piece(tokenizer, 98, 0, text, sizeof text, &bytes));
    NO(q_tokenizer_piece(tokenizer, tokens[0], 8, text, sizeof text, &bytes));
    IS(Q_ERR_BUFFER_TOO_SMALL, q_tokenizer_piece(tokenizer, tokens[0], 0, text, 0, &bytes));
    OK(q_tokenizer_piece(tokenizer, tokens[0], 0, text, bytes, NULL));

    NO(q_decoder_create(NULL, 0, &decoder));
    NO(q_decoder_create(tokenizer, 0, NULL));
    NO(q_decoder_create(tokenizer, 16, &decoder));
    OK(q_decoder_create(tokenizer, Q_DECODE_CONTINUES, &decoder));
    NO(q_decoder_push(NULL, 5, text, sizeof text, &bytes));
    NO(q_decoder_push(decoder, 5, NULL, sizeof text, &bytes));
    NO(q_decoder_push(decoder, 5, text, sizeof text, NULL));
    NO(q_decoder_push(decoder, 98, text, sizeof text, &bytes));
    NO(q_decoder_push((q_decoder *)tokenizer, 5, text, sizeof text, &bytes));
    IS(Q_ERR_BUFFER_TOO_SMALL, q_decoder_push(decoder, tokens[2], text, 0, &bytes));
    OK(q_decoder_push(decoder, tokens[2], text, bytes, &bytes));
    NO(q_decoder_finish(NULL, text, sizeof text, &bytes));
    NO(q_decoder_finish(decoder, text, sizeof text, NULL));
    OK(q_decoder_finish(decoder, NULL, 0, &bytes));
    TRUE(bytes == 0);
    q_decoder_free(decoder);
    q_decoder_free(NULL);
    q_tokenizer_free(NULL);
}

static void test_chat(void) {
    const char *expected = "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n";
    q_chat *chat = NULL;
    q_message messages[1] = {{{"user", 4}, {"hi", 2}}};
    char text[128];
    size_t n = 0;
    NO(q_chat_create(NULL, "chatml", 6, &chat));
    NO(q_chat_create(tokenizer, "chatml", 6, NULL));
    NO(q_chat_create(tokenizer, NULL, 6, &chat));
    IS(Q_ERR_NOT_FOUND, q_chat_create(tokenizer, NULL, 0, &chat));
    IS(Q_ERR_UNSUPPORTED, q_chat_create(tokenizer, "{% nonsense", 11, &chat));
    TRUE(chat == NULL);
    OK(q_chat_create(tokenizer, "chatml", 6, &chat));
    NO(q_chat_render(NULL, messages, 1, Q_CHAT_PROMPT, text, sizeof text, &n));
    NO(q_chat_render(chat, NULL, 1, Q_CHAT_PROMPT, text, sizeof text, &n));
    NO(q_chat_render(chat, messages, 0, Q_CHAT_PROMPT, text, sizeof text, &n));
    NO(q_chat_render(chat, messages, 1, 2, text, sizeof text, &n));
    NO(q_chat_render(chat, messages, 1, Q_CHAT_PROMPT, NULL, sizeof text, &n));
    messages[0].content.data = NULL;
    NO(q_chat_render(chat, messages, 1, Q_CHAT_PROMPT, text, sizeof text, &n));
    messages[0].content.data = "hi";
    IS(Q_ERR_BUFFER_TOO_SMALL, q_chat_render(chat, messages, 1, Q_CHAT_PROMPT, text, 5, &n));
    TRUE(n == strlen(expected));
    OK(q_chat_render(chat, messages, 1, Q_CHAT_PROMPT, text, n, NULL));
    TRUE(memcmp(text, expected, n) == 0);
    q_chat_free(NULL);
    q_chat_free(chat);
}

static void test_context(void) {
    q_context *out = NULL, *none = NULL;
    q_context_params p;
    q_plan plan;
    q_batch *batch = NULL;
    float floats[98], *data = NULL;
    uint32_t tokens[4] = {5, 6, 7, 8}, held[512], len = 0;
    size_t needed = 0, n = 0;
    uint64_t bytes;
    char *state;
    NO(q_context_params_init(NULL, sizeof p));
    IS(Q_ERR_ABI, q_context_params_init(&p, 4));
    OK(q_context_params_init(&p, sizeof p));
    NO(q_context_create(NULL, &p, &out));
    NO(q_context_create(model, &p, NULL));
    p.reserved = 1;
    IS(Q_ERR_ABI, q_context_create(model, &p, &out));
    p.reserved = 0;
    p.kv_type = 5;
    NO(q_context_create(model, &p, &out));
    p.kv_type = Q_TYPE_Q2_K;
    NO(q_context_create(model, &p, &out));
    p.kv_type = Q_TYPE_F16;
    p.pooling = 3;
    NO(q_context_create(model, &p, &out));
    p.pooling = Q_POOLING_NONE;
    p.n_batch = 0;
    NO(q_context_create(model, &p, &out));
    p.n_batch = 4;
    p.n_ctx = 0xffffffffu;
    NO(q_context_create(model, &p, &out));
    p.n_ctx = 8;
    p.budget = 1;
    IS(Q_ERR_BUDGET, q_context_create(model, &p, &out));
    p.budget = 0;
    TRUE(out == NULL);

    NO(q_batch_create(4, NULL));
    IS(Q_ERR_OUT_OF_MEMORY, q_batch_create((size_t)-1, &batch));
    OK(q_batch_create(2, &batch));
    NO(q_batch_add(NULL, 1, 0, 0, 1));
    NO(q_batch_len(NULL, &n));
    NO(q_batch_len(batch, NULL));
    NO(q_batch_clear(NULL));
    OK(q_batch_add(batch, 5, 0, 0, 1));
    OK(q_batch_add(batch, 98, 0, 1, 0));
    IS(Q_ERR_BUFFER_TOO_SMALL, q_batch_add(batch, 5, 0, 2, 1));
    OK(q_batch_len(batch, &n));
    TRUE(n == 2);

    NO(q_context_decode(NULL, batch));
    NO(q_context_decode(context, NULL));
    NO(q_context_decode(context, (q_batch *)context));
    NO(q_context_decode((q_context *)batch, batch));
    NO(q_context_decode(context, batch)); /* token outside the vocabulary */
    OK(q_batch_clear(batch));
    OK(q_batch_add(batch, 5, 9, 0, 1));
    NO(q_context_decode(context, batch)); /* no such sequence */
    OK(q_batch_clear(batch));
    OK(q_batch_add(batch, 5, 0, 3, 1));
    NO(q_context_decode(context, batch)); /* position beyond the end */
    OK(q_batch_clear(batch));
    OK(q_batch_add(batch, 5, 0, 0, 1));
    OK(q_batch_add(batch, 5, 0, 1, 1));
    NO(q_context_decode(context, batch)); /* two outputs, room for one */
    OK(q_context_len(context, 0, &len));
    TRUE(len == 0);

    NO(q_context_append(NULL, 0, tokens, 4));
    NO(q_context_append(context, 0, NULL, 4));
    NO(q_context_append(context, 7, tokens, 4));
    tokens[3] = 98;
    NO(q_context_append(context, 0, tokens, 4));
    tokens[3] = 8;
    NO(q_context_append(context, 0, tokens, (size_t)-1));
    NO(q_context_append_rows(NULL, floats, 1));
    IS(Q_ERR_STATE, q_context_append_rows(context, floats, 1));
    NO(q_context_logits(context, 0, floats, 98, NULL)); /* nothing computed */
    OK(q_context_append(context, 0, tokens, 4));
    OK(q_context_append(context, 0, tokens, 4));
    IS(Q_ERR_CONTEXT_FULL, q_context_append(context, 0, tokens, 1));
    OK(q_context_truncate(context, 0, 4));
    OK(q_context_append(context, 0, tokens, 3));

    NO(q_context_logits(NULL, 0, floats, 98, &needed));
    NO(q_context_logits(context, 1, floats, 98, &needed));
    NO(q_context_logits(context, 0, NULL, 98, &needed));
    IS(Q_ERR_BUFFER_TOO_SMALL, q_context_logits(context, 0, floats, 97, &needed));
    TRUE(needed == 98);
    OK(q_context_logits(context, 0, floats, 98, NULL));
    NO(q_context_logits_data(NULL, 0, &data, &n));
    NO(q_context_logits_data(context, 0, NULL, &n));
    NO(q_context_logits_data(context, 0, &data, NULL));
    OK(q_context_logits_data(context, 0, &data, &n));
    TRUE(n == 98 && memcmp(data, floats, sizeof floats) == 0);
    NO(q_context_log_prob(NULL, 0, 5, floats));
    NO(q_context_log_prob(context, 0, 98, floats));
    NO(q_context_log_prob(context, 0, 5, NULL));
    OK(q_context_log_prob(context, 0, 5, floats));
    TRUE(floats[0] < 0);
    NO(q_context_embedding(NULL, 0, floats, 98, &needed));
    IS(Q_ERR_STATE, q_context_embedding(context, 0, floats, 98, &needed));
    NO(q_context_len(NULL, 0, &len));
    NO(q_context_len(context, 1, &len));
    NO(q_context_len(context, 0, NULL));
    NO(q_context_truncate(NULL, 0, 0));
    NO(q_context_truncate(context, 0, 9));
    NO(q_context_truncate(context, 1, 0));
    NO(q_context_tokens(NULL, 0, tokens, 8, &needed));
    NO(q_context_tokens(context, 1, tokens, 8, &needed));
    NO(q_context_tokens(context, 0, NULL, 8, &needed));
    IS(Q_ERR_BUFFER_TOO_SMALL, q_context_tokens(context, 0, tokens, 0, &needed));
    OK(q_context_len(context, 0, &len));
    TRUE(needed == len);
    OK(q_context_tokens(context, 0, held, 512, NULL));
    NO(q_context_reuse(NULL, 0, tokens, 1, &n));
    NO(q_context_reuse(context, 1, tokens, 1, &n));
    NO(q_context_reuse(context, 0, NULL, 1, &n));
    NO(q_context_reuse(context, 0, held, len, NULL));
    OK(q_context_reuse(context, 0, held, len, &n));
    TRUE(n == len - 1);
    OK(q_context_append(context, 0, held + n, 1));
    NO(q_context_copy_seq(NULL, 0, 0));
    NO(q_context_copy_seq(context, 0, 1));
    NO(q_context_memory(NULL, &plan, sizeof plan));
    NO(q_context_memory(context, NULL, sizeof plan));
    IS(Q_ERR_ABI, q_context_memory(context, &plan, 100000));
    NO(q_context_high_water(NULL, &bytes));
    NO(q_context_high_water(context, NULL));

    NO(q_context_save(NULL, NULL, 0, &needed));
    IS(Q_ERR_BUFFER_TOO_SMALL, q_context_save(context, NULL, 0, &needed));
    state = malloc(needed);
    if (!state) exit(3);
    NO(q_context_save(context, NULL, needed, NULL));
    OK(q_context_save(context, state, needed, NULL));
    NO(q_context_restore(NULL, state, needed));
    NO(q_context_restore(context, NULL, needed));
    IS(Q_ERR_FORMAT, q_context_restore(context, state, needed - 1));
    IS(Q_ERR_FORMAT, q_context_restore(context, state, 0));
    state[needed / 2] ^= 1;
    IS(Q_ERR_FORMAT, q_context_restore(context, state, needed));
    OK(q_context_len(context, 0, &len));
    TRUE(len == 7);
    state[needed / 2] ^= 1;
    OK(q_context_truncate(context, 0, 0));
    OK(q_context_restore(context, state, needed));
    OK(q_context_len(context, 0, &len));
    TRUE(len == 7);
    free(state);

    NO(q_context_cancel(NULL));
    NO(q_context_cancel((q_context *)junk));
    NO(q_context_cancel_reset(NULL));
    OK(q_context_cancel(context));
    IS(Q_ERR_CANCELLED, q_context_append(context, 0, tokens, 1));
    OK(q_context_append(context, 0, tokens, 1));
    OK(q_context_truncate(context, 0, 7));
    OK(q_context_cancel(context));
    OK(q_context_cancel_reset(context));
    OK(q_context_append(context, 0, tokens, 1));

    p.pooling = Q_POOLING_MEAN;
    OK(q_context_create(model, &p, &none));
    NO(q_context_embedding(none, 0, floats, 98, &needed)); /* no tokens yet */
    OK(q_context_append(none, 0, tokens, 2));
    IS(Q_ERR_BUFFER_TOO_SMALL, q_context_embedding(none, 0, floats, 3, &needed));
    TRUE(needed == 64);
    OK(q_context_embedding(none, 0, floats, 98, &needed));
    q_context_free(none);
    q_context_free(NULL);
    q_batch_free(batch);
    q_batch_free(NULL);
}

static void test_sampler(void) {
    q_sampler_params p;
    q_sampler *sampler = NULL;
    uint32_t token = 0;
    float logits[3] = {1, NAN, 2};
    NO(q_sampler_params_init(NULL, sizeof p));
    IS(Q_ERR_ABI, q_sampler_params_init(&p, 1));
    OK(q_sampler_params_init(&p, sizeof p));
    NO(q_sampler_create(NULL, &p, &sampler));
    NO(q_sampler_create(model, &p, NULL));
    p.temperature = NAN;
    NO(q_sampler_create(model, &p, &sampler));
    p.temperature = -1;
    NO(q_sampler_create(model, &p, &sampler));
    p.temperature = 0;
    p.repeat_last = 0xffffffffu;
    NO(q_sampler_create(model, &p, &sampler));
    p.repeat_last = 4;
    OK(q_sampler_create(model, &p, &sampler));
    NO(q_sampler_sample(NULL, context, 0, &token));
    NO(q_sampler_sample(sampler, NULL, 0, &token));
    NO(q_sampler_sample(sampler, context, 1, &token));
    NO(q_sampler_sample(sampler, context, 0, NULL));
    OK(q_sampler_sample(sampler, context, 0, &token));
    NO(q_sampler_sample_logits(NULL, logits, 3, &token));
    NO(q_sampler_sample_logits(sampler, NULL, 3, &token));
    NO(q_sampler_sample_logits(sampler, logits, 3, NULL));
    IS(Q_ERR_SHAPE, q_sampler_sample_logits(sampler, logits, 0, &token));
    OK(q_sampler_sample_logits(sampler, logits, 3, &token));
    TRUE(token == 2);
    NO(q_sampler_accept(NULL, 1));
    OK(q_sampler_accept(sampler, 0xffffffffu));
    OK(q_sampler_sample(sampler, context, 0, &token));
    NO(q_sampler_reset(NULL));
    OK(q_sampler_reset(sampler));
    q_sampler_free(sampler);
    q_sampler_free(NULL);
}

struct seen {
    q_generator *generator;
    int pieces, logits;
};

/* A callback that does all that callbacks must not. */
static int32_t bad_piece(const q_piece *piece, void *user) {
    struct seen *seen = user;
    uint32_t token = 5, len;
    TRUE(piece->text != NULL || piece->text_len == 0);
    IS(Q_ERR_STATE, q_context_append(context, 0, &token, 1));
    IS(Q_ERR_STATE, q_context_len(context, 0, &len));
    IS(Q_ERR_STATE, q_generator_reset(seen->generator));
    q_context_free(context);
    q_generator_free(seen->generator);
    return ++seen->pieces == 3;
}

static void on_logits(float *logits, size_t n, void *user) {
    struct seen *seen = user;
    TRUE(n == 98);
    logits[2] = -INFINITY; /* never the end */
    seen->logits++;
}

/* The same tokens from a context that has room for guesses, of the text and of a draft. */
static void test_guesses(q_generator *generator, q_generate_params *p) {
    const uint32_t circle[12] = {5, 6, 7, 8, 5, 6, 7, 8, 5, 6, 7, 8};
    q_context_params params;
    q_context *c = NULL, *draft = NULL;
    q_generate_result result;
    uint32_t plain[64], guessed[64];
    size_t n = 0, m = 0;
    OK(q_context_params_init(&params, sizeof params));
    params.n_ctx = 64;
    params.n_outputs = 16;
    OK(q_context_create(model, &params, &c));
    OK(q_context_create(model, &params, &draft));
    p->on_logits = NULL;
    p->lookup = 0;
    OK(q_generator_reset(generator));
    OK(q_generator_run(generator, c, circle, 12, p, &result, sizeof result));
    TRUE(result.proposed == 0 && result.accepted == 0);
    OK(q_context_tokens(c, 0, plain, 64, &n));
    for (int i = 0; i < 2; i++) {
        p->lookup = i == 0 ? 15 : 0;
        p->draft = i == 0 ? NULL : draft;
        OK(q_generator_reset(generator));
        OK(q_context_truncate(c, 0, 0));
        OK(q_generator_run(generator, c, circle, 12, p, &result, sizeof result));
        OK(q_context_tokens(c, 0, guessed, 64, &m));
        TRUE(n == m && memcmp(plain, guessed, n * sizeof *plain) == 0);
        TRUE(result.accepted <= result.proposed && (i == 0 || n < 20 || result.accepted > 0));
    }
    q_context_free(c);
    q_context_free(draft);
}

static void test_generate(void) {
    q_generate_params p;
    q_generate_result result;
    q_generator *generator = NULL, *foreign = NULL;
    q_model *other = NULL;
    uint32_t prompt[2] = {5, 6};
    q_text stops[2] = {{"abc", 3}, {NULL, 4}};
    NO(q_generator_create(NULL, NULL, NULL, 0, &generator));
    NO(q_generator_create(model, NULL, NULL, 0, NULL));
    NO(q_generator_create(model, NULL, NULL, 1, &generator));
    NO(q_generator_create(model, NULL, stops, 2, &generator));
    stops[1].len = 0;
    NO(q_generator_create(model, NULL, stops, 2, &generator));
    OK(q_generator_create(model, NULL, stops, 1, &generator));
    NO(q_generate_params_init(NULL, sizeof p));
    IS(Q_ERR_ABI, q_generate_params_init(&p, 1));
    OK(q_generate_params_init(&p, sizeof p));
    OK(q_context_truncate(context, 0, 0));
    NO(q_generator_run(NULL, context, prompt, 2, &p, &result, sizeof result));
    NO(q_generator_run(generator, NULL, prompt, 2, &p, &result, sizeof result));
    NO(q_generator_run(generator, context, NULL, 2, &p, &result, sizeof result));
    NO(q_generator_run(generator, context, prompt, 0, &p, &result, sizeof result));
    NO(q_generator_run((q_generator *)context, context, prompt, 2, &p, &result, sizeof result));
    p.seq = 5;
    NO(q_generator_run(generator, context, prompt, 2, &p, &result, sizeof result));
    p.seq = 0;
    OK(q_model_load(runtime, other_path, strlen(other_path), NULL, &other));
    OK(q_generator_create(other, NULL, NULL, 0, &foreign));
    q_model_free(other);
    IS(Q_ERR_SHAPE, q_generator_run(foreign, context, prompt, 2, &p, &result, sizeof result));
    q_generator_free(foreign);
    IS(Q_ERR_ABI, q_generator_run(generator, context, prompt, 2, &p, &result, 1));
    p.log_probs = 2;
    NO(q_generator_run(generator, context, prompt, 2, &p, &result, sizeof result));
    p.log_probs = 1;
    p.draft = context; /* it cannot guess for itself */
    IS(Q_ERR_STATE, q_generator_run(generator, context, prompt, 2, &p, &result, sizeof result));
    p.draft = (q_context *)model;
    NO(q_generator_run(generator, context, prompt, 2, &p, &result, sizeof result));
    p.draft = NULL;

    struct seen seen = {generator, 0, 0};
    p.on_piece = bad_piece;
    p.on_logits = on_logits;
    p.user = &seen;
    OK(q_context_truncate(context, 0, 0));
    OK(q_generator_run(generator, context, prompt, 2, &p, &result, sizeof result));
    TRUE(result.outcome == Q_OUTCOME_HALTED && result.tokens == 3 && result.prompt_tokens == 2);
    TRUE(seen.pieces == 3 && seen.logits == 3);
    p.on_piece = NULL;
    p.max_tokens = 1000;
    OK(q_context_truncate(context, 0, 0));
    OK(q_generator_run(generator, context, prompt, 2, &p, NULL, 0));
    test_guesses(generator, &p);
    NO(q_generator_reset(NULL));
    OK(q_generator_reset(generator));
    q_generator_free(generator);
    q_generator_free(NULL);
}

static void test_arena(void) {
    q_arena *arena = NULL, *huge = NULL;
    size_t capacity = 0;
    NO(q_arena_create(100, NULL));
    IS(Q_ERR_OUT_OF_MEMORY, q_arena_create((size_t)-1, &huge));
    IS(Q_ERR_OUT_OF_MEMORY, q_arena_create((size_t)-1 / 2, &huge));
    OK(q_arena_create(256, &arena));
    TRUE(q_arena_alloc(NULL, 1) == NULL);
    TRUE(q_arena_alloc((q_arena *)context, 1) == NULL);
    char *a = q_arena_alloc(arena, 65), *b = q_arena_alloc(arena, 0);
    TRUE(a && b && (a + 128 <= b || b + 64 <= a) && (uintptr_t)a % 64 == 0 && (uintptr_t)b % 64 == 0);
    memset(a, 1, 65);
    TRUE(q_arena_used(arena) == 192 && q_arena_used(NULL) == 0);
    TRUE(q_arena_alloc(arena, 65) == NULL);
    TRUE(q_arena_alloc(arena, (size_t)-1) == NULL);
    TRUE(q_arena_alloc(arena, 64) != NULL && q_arena_alloc(arena, 1) == NULL);
    NO(q_arena_reset(NULL));
    OK(q_arena_reset(arena));
    TRUE(q_arena_used(arena) == 0 && q_arena_alloc(arena, 256) != NULL);
    NO(q_arena_capacity(NULL, &capacity));
    NO(q_arena_capacity(arena, NULL));
    OK(q_arena_capacity(arena, &capacity));
    TRUE(capacity == 256);
    q_arena_free(NULL);
    q_arena_free(arena);
}

/* A tensor of 6 x 32 floats, and what can be wrong with tensors. */
static float floats[192], more[192];
static q_tensor x, y;

static void test_tensor(void) {
    q_arena *arena = NULL;
    q_tensor t, view;
    q_dl_tensor dl;
    uint64_t dims[2] = {6, 32}, odd[2] = {3, 33}, eight[8] = {1, 1, 1, 1, 1, 1, 1, 1}, huge[2] = {UINT64_MAX, 32};
    int64_t shape[6], strides[6];
    size_t bytes = 0;
    uint32_t dense = 7;
    OK(q_arena_create(1024, &arena));
    NO(q_tensor_bytes(Q_TYPE_F32, 2, NULL, &bytes));
    NO(q_tensor_bytes(Q_TYPE_F32, 2, dims, NULL));
    NO(q_tensor_bytes(5, 2, dims, &bytes));
    IS(Q_ERR_SHAPE, q_tensor_bytes(Q_TYPE_F32, 0, dims, &bytes));
    IS(Q_ERR_SHAPE, q_tensor_bytes(Q_TYPE_F32, 7, eight, &bytes));
    IS(Q_ERR_SHAPE, q_tensor_bytes(Q_TYPE_Q8_0, 2, odd, &bytes));
    IS(Q_ERR_SHAPE, q_tensor_bytes(Q_TYPE_F32, 2, huge, &bytes));
    OK(q_tensor_bytes(Q_TYPE_Q8_0, 2, dims, &bytes));
    TRUE(bytes == 6 * 34);
    NO(q_tensor_wrap(Q_TYPE_F32, 2, NULL, floats, sizeof floats, &x));
    NO(q_tensor_wrap(Q_TYPE_F32, 2, dims, NULL, sizeof floats, &x));
    NO(q_tensor_wrap(Q_TYPE_F32, 2, dims, floats, sizeof floats, NULL));
    NO(q_tensor_wrap(Q_TYPE_F32, 2, dims, (char *)floats + 1, sizeof floats, &x));
    IS(Q_ERR_BUFFER_TOO_SMALL, q_tensor_wrap(Q_TYPE_F32, 2, dims, floats, sizeof floats - 1, &x));
    OK(q_tensor_wrap(Q_TYPE_F32, 2, dims, floats, sizeof floats, &x));
    OK(q_tensor_wrap(Q_TYPE_F32, 2, dims, more, sizeof more, &y));
    NO(q_tensor_alloc(NULL, Q_TYPE_F32, 2, dims, &t));
    NO(q_tensor_alloc(arena, Q_TYPE_F32, 2, NULL, &t));
    NO(q_tensor_alloc(arena, Q_TYPE_F32, 2, dims, NULL));
    NO(q_tensor_alloc(arena, 77, 2, dims, &t));
    OK(q_tensor_alloc(arena, Q_TYPE_F16, 2, dims, &t));
    IS(Q_ERR_BUDGET, q_tensor_alloc(arena, Q_TYPE_F32, 2, dims, &view));
    NO(q_tensor_is_dense(NULL, &dense));
    NO(q_tensor_is_dense(&x, NULL));
    OK(q_tensor_is_dense(&x, &dense));
    TRUE(dense == 1);
    NO(q_tensor_slice(NULL, 0, 0, 1, &view));
    NO(q_tensor_slice(&x, 0, 0, 1, NULL));
    IS(Q_ERR_SHAPE, q_tensor_slice(&x, 2, 0, 1, &view));
    IS(Q_ERR_SHAPE, q_tensor_slice(&x, 0, 6, 1, &view));
    IS(Q_ERR_SHAPE, q_tensor_slice(&x, 0, UINT64_MAX, 2, &view));
    OK(q_tensor_slice(&x, 1, 16, 16, &view));
    TRUE(view.data == floats + 16 && view.dims[1] == 16 && view.strides[0] == 128);
    NO(q_tensor_reshape(NULL, 2, dims, &t));
    NO(q_tensor_reshape(&x, 2, NULL, &t));
    NO(q_tensor_reshape(&x, 2, dims, NULL));
    IS(Q_ERR_SHAPE, q_tensor_reshape(&x, 2, odd, &view));
    IS(Q_ERR_SHAPE, q_tensor_reshape(&view, 2, dims, &view));
    NO(q_tensor_transpose(NULL, 0, 1, &view));
    NO(q_tensor_transpose(&x, 0, 1, NULL));
    IS(Q_ERR_SHAPE, q_tensor_transpose(&x, 0, 2, &view));
    OK(q_tensor_transpose(&x, 0, 1, &view));
    TRUE(view.dims[0] == 32 && view.strides[0] == 4);

    NO(q_tensor_convert(NULL, &x, &t));
    NO(q_tensor_convert(runtime, NULL, &t));
    NO(q_tensor_convert(runtime, &x, NULL));
    IS(Q_ERR_SHAPE, q_tensor_convert(runtime, &view, &t));
    OK(q_tensor_convert(runtime, &x, &t));
    OK(q_tensor_convert(runtime, &t, &y));
    view = t;
    view.flags = Q_TENSOR_READONLY;
    NO(q_tensor_convert(runtime, &x, &view));
    view.flags = 64;
    IS(Q_ERR_ABI, q_tensor_convert(runtime, &x, &view));
    view = x;
    view.type = 4;
    IS(Q_ERR_SHAPE, q_tensor_convert(runtime, &view, &y));
    view = x;
    view.n_dims = 9;
    IS(Q_ERR_SHAPE, q_tensor_convert(runtime, &view, &y));
    view = x;
    view.strides[0] = UINT64_MAX;
    IS(Q_ERR_SHAPE, q_tensor_convert(runtime, &view, &y));
    view = y;
    view.strides[0] = 0;
    IS(Q_ERR_SHAPE, q_tensor_convert(runtime, &x, &view));

    NO(q_tensor_to_dlpack(NULL, shape, strides, &dl));
    NO(q_tensor_to_dlpack(&x, NULL, strides, &dl));
    NO(q_tensor_to_dlpack(&x, shape, NULL, &dl));
    NO(q_tensor_to_dlpack(&x, shape, strides, NULL));
    OK(q_tensor_to_dlpack(&x, shape, strides, &dl));
    TRUE(dl.data == floats && dl.ndim == 2 && dl.shape == shape && shape[1] == 32 && strides[0] == 32);
    NO(q_tensor_from_dlpack(NULL, &view));
    NO(q_tensor_from_dlpack(&dl, NULL));
    OK(q_tensor_from_dlpack(&dl, &view));
    TRUE(memcmp(&view, &x, sizeof x) == 0);
    dl.strides = NULL;
    OK(q_tensor_from_dlpack(&dl, &view));
    dl.shape = NULL;
    NO(q_tensor_from_dlpack(&dl, &view));
    dl.ndim = -1;
    IS(Q_ERR_UNSUPPORTED, q_tensor_from_dlpack(&dl, &view));
    q_arena_free(arena);
}

static void test_ops(void) {
    q_tensor row, weights, angles, heads, out, no = x, q, k, attended;
    uint64_t n = 32, three[3] = {6, 2, 16}, keys[3] = {1, 6, 16}, angle[2] = {6, 8}, square[2] = {32, 32}, dims[2] = {6, 32};
    static float w[1024], cosines[48], result[192], kv[96];
    static char work[1 << 20];
    float sum;
    size_t needed = 0;
    for (int i = 0; i < 192; i++) floats[i] = (float)(i % 7) - 3;
    OK(q_tensor_wrap(Q_TYPE_F32, 1, &n, w, sizeof w, &row));
    OK(q_tensor_wrap(Q_TYPE_F32, 2, square, w, sizeof w, &weights));
    OK(q_tensor_wrap(Q_TYPE_F32, 2, angle, cosines, sizeof cosines, &angles));
    OK(q_tensor_wrap(Q_TYPE_F32, 3, three, floats, sizeof floats, &heads));
    OK(q_tensor_wrap(Q_TYPE_F32, 3, three, result, sizeof result, &attended));
    OK(q_tensor_wrap(Q_TYPE_F32, 2, dims, result, sizeof result, &out));
    no.data = NULL;
    NO(q_tensor_activation(NULL, 0, &x, &y));
    NO(q_tensor_activation(runtime, 9, &x, &y));
    NO(q_tensor_activation(runtime, 0, NULL, &y));
    NO(q_tensor_activation(runtime, 0, &x, NULL));
    NO(q_tensor_activation(runtime, 0, &no, &y));
    IS(Q_ERR_SHAPE, q_tensor_activation(runtime, 0, &x, &row));
    OK(q_tensor_activation(runtime, Q_ACTIVATION_RELU, &x, &y));
    TRUE(more[0] == 0 && more[4] == 1);
    OK(q_tensor_activation(runtime, Q_ACTIVATION_GELU_ERF, &y, &y));
    NO(q_tensor_softmax(NULL, &x, &y));
    NO(q_tensor_softmax(runtime, NULL, &y));
    NO(q_tensor_softmax(runtime, &x, NULL));
    OK(q_tensor_softmax(runtime, &x, &y));
    NO(q_tensor_scale(NULL, &x, 2, &y));
    NO(q_tensor_scale(runtime, NULL, 2, &y));
    NO(q_tensor_scale(runtime, &x, 2, NULL));
    OK(q_tensor_scale(runtime, &x, 2, &y));
    TRUE(more[0] == -6);
    NO(q_tensor_softcap(NULL, &x, 2, &y));
    NO(q_tensor_softcap(runtime, NULL, 2, &y));
    NO(q_tensor_softcap(runtime, &x, 2, NULL));
    OK(q_tensor_softcap(runtime, &x, 2, &y));
    NO(q_tensor_add(NULL, &x, &y, &y));
    NO(q_tensor_add(runtime, NULL, &y, &y));
    NO(q_tensor_add(runtime, &x, NULL, &y));
    NO(q_tensor_add(runtime, &x, &y, NULL));
    NO(q_tensor_add(runtime, &x, &x, &x));
    OK(q_tensor_add(runtime, &x, &y, &y));
    OK(q_tensor_add(runtime, &x, &row, &y));
    NO(q_tensor_mul(NULL, &x, &y, &y));
    NO(q_tensor_mul(runtime, NULL, &y, &y));
    OK(q_tensor_mul(runtime, &x, &x, &y));
    TRUE(more[0] == 9);
    NO(q_tensor_silu_mul(NULL, &x, &y, &out));
    NO(q_tensor_silu_mul(runtime, &x, NULL, &out));
    NO(q_tensor_silu_mul(runtime, &x, &y, &y));
    OK(q_tensor_silu_mul(runtime, &x, &y, &out));
    NO(q_tensor_gelu_mul(NULL, &x, &y, &out));
    NO(q_tensor_gelu_mul(runtime, &x, &y, NULL));
    OK(q_tensor_gelu_mul(runtime, &x, &y, &out));
    NO(q_tensor_axpy(NULL, 1, &x, &y));
    NO(q_tensor_axpy(runtime, 1, NULL, &y));
    NO(q_tensor_axpy(runtime, 1, &x, NULL));
    NO(q_tensor_axpy(runtime, 1, &x, &x));
    OK(q_tensor_axpy(runtime, 1, &x, &y));
    NO(q_tensor_dot(NULL, &x, &y, &sum));
    NO(q_tensor_dot(runtime, NULL, &y, &sum));
    NO(q_tensor_dot(runtime, &x, NULL, &sum));
    NO(q_tensor_dot(runtime, &x, &y, NULL));
    OK(q_tensor_dot(runtime, &x, &x, &sum));
    NO(q_tensor_rmsnorm(NULL, &x, &row, 1e-5f, &y));
    NO(q_tensor_rmsnorm(runtime, NULL, &row, 1e-5f, &y));
    NO(q_tensor_rmsnorm(runtime, &x, NULL, 1e-5f, &y));
    NO(q_tensor_rmsnorm(runtime, &x, &row, 1e-5f, NULL));
    NO(q_tensor_rmsnorm(runtime, &x, &row, 1e-5f, &x));
    IS(Q_ERR_SHAPE, q_tensor_rmsnorm(runtime, &x, &weights, 1e-5f, &y));
    OK(q_tensor_rmsnorm(runtime, &x, &row, 1e-5f, &y));
    NO(q_tensor_layernorm(NULL, &x, &row, NULL, 1e-5f, &y));
    NO(q_tensor_layernorm(runtime, NULL, &row, NULL, 1e-5f, &y));
    NO(q_tensor_layernorm(runtime, &x, NULL, NULL, 1e-5f, &y));
    NO(q_tensor_layernorm(runtime, &x, &row, NULL, 1e-5f, NULL));
    OK(q_tensor_layernorm(runtime, &x, &row, &row, 1e-5f, &y));
    NO(q_tensor_rope(NULL, Q_ROPE_NEOX, &heads, &angles, &angles, &heads));
    NO(q_tensor_rope(runtime, Q_ROPE_NONE, &heads, &angles, &angles, &heads));
    NO(q_tensor_rope(runtime, 5, &heads, &angles, &angles, &heads));
    NO(q_tensor_rope(runtime, Q_ROPE_NEOX, NULL, &angles, &angles, &heads));
    NO(q_tensor_rope(runtime, Q_ROPE_NEOX, &heads, NULL, &angles, &heads));
    NO(q_tensor_rope(runtime, Q_ROPE_NEOX, &heads, &angles, NULL, &heads));
    NO(q_tensor_rope(runtime, Q_ROPE_NEOX, &heads, &angles, &angles, NULL));
    IS(Q_ERR_SHAPE, q_tensor_rope(runtime, Q_ROPE_NEOX, &heads, &x, &x, &heads));
    OK(q_tensor_rope(runtime, Q_ROPE_NEOX, &heads, &angles, &angles, &heads));

    NO(q_tensor_matmul(NULL, &x, &weights, NULL, &y, work, sizeof work, &needed));
    NO(q_tensor_matmul(runtime, NULL, &weights, NULL, &y, work, sizeof work, &needed));
    NO(q_tensor_matmul(runtime, &x, NULL, NULL, &y, work, sizeof work, &needed));
    NO(q_tensor_matmul(runtime, &x, &weights, NULL, NULL, work, sizeof work, &needed));
    NO(q_tensor_matmul(runtime, &x, &weights, NULL, &y, NULL, sizeof work, &needed));
    NO(q_tensor_matmul(runtime, &x, &weights, NULL, &x, work, sizeof work, &needed));
    IS(Q_ERR_SHAPE, q_tensor_matmul(runtime, &x, &x, NULL, &y, work, sizeof work, &needed));
    needed = 0;
    IS(Q_ERR_BUFFER_TOO_SMALL, q_tensor_matmul(runtime, &x, &weights, NULL, &y, NULL, 0, &needed));
    TRUE(needed > 0 && needed < sizeof work);
    OK(q_tensor_matmul(runtime, &x, &weights, &row, &y, work + 1, needed, NULL));

    OK(q_tensor_wrap(Q_TYPE_F32, 3, three, floats, sizeof floats, &q));
    OK(q_tensor_wrap(Q_TYPE_F32, 3, keys, kv, sizeof kv, &k));
    NO(q_tensor_attention(NULL, &q, &k, &k, 0, 0, 0, 0, &attended, work, sizeof work, NULL));
    NO(q_tensor_attention(runtime, NULL, &k, &k, 0, 0, 0, 0, &attended, work, sizeof work, NULL));
    NO(q_tensor_attention(runtime, &q, NULL, &k, 0, 0, 0, 0, &attended, work, sizeof work, NULL));
    NO(q_tensor_attention(runtime, &q, &k, NULL, 0, 0, 0, 0, &attended, work, sizeof work, NULL));
    NO(q_tensor_attention(runtime, &q, &k, &k, 0, 0, 0, 0, NULL, work, sizeof work, NULL));
    NO(q_tensor_attention(runtime, &q, &k, &k, 0, 0, 0, 0, &q, work, sizeof work, NULL));
    IS(Q_ERR_SHAPE, q_tensor_attention(runtime, &q, &k, &k, 1, 0, 0, 0, &attended, work, sizeof work, NULL));
    IS(Q_ERR_SHAPE, q_tensor_attention(runtime, &q, &k, &k, UINT32_MAX, 0, 0, 0, &attended, work, sizeof work, NULL));
    IS(Q_ERR_SHAPE, q_tensor_attention(runtime, &x, &k, &k, 0, 0, 0, 0, &attended, work, sizeof work, NULL));
    IS(Q_ERR_BUFFER_TOO_SMALL, q_tensor_attention(runtime, &q, &k, &k, 0, 0, 0, 0, &attended, work, 1, &needed));
    OK(q_tensor_attention(runtime, &q, &k, &k, 0, 3, 0, 0, &attended, work, needed, NULL));
}

static void test_builder(void) {
    q_builder *b = NULL;
    q_model *made = NULL;
    q_context *c = NULL;
    q_context_params params;
    q_attention_params a;
    q_tensor w, row, input, output, ids, logits, view;
    static float more_rows[9 * 32];
    uint64_t square[2] = {32, 32}, n = 32, rows[2] = {6, 32}, four = 4, wide[2] = {4, 98};
    static float weights[1024], in[192], out[192], many[4 * 98];
    static int32_t tokens[4] = {5, 6, 7, 8};
    uint32_t width = 0;
    OK(q_tensor_wrap(Q_TYPE_F32, 2, square, weights, sizeof weights, &w));
    OK(q_tensor_wrap(Q_TYPE_F32, 1, &n, weights, sizeof weights, &row));
    OK(q_tensor_wrap(Q_TYPE_F32, 2, rows, in, sizeof in, &input));
    OK(q_tensor_wrap(Q_TYPE_F32, 2, rows, out, sizeof out, &output));
    NO(q_builder_create(NULL, &b));
    NO(q_builder_create(runtime, NULL));
    OK(q_builder_create(runtime, &b));
    NO(q_builder_rows(NULL, 32));
    IS(Q_ERR_SHAPE, q_builder_rows(b, 0));
    NO(q_builder_embedding(NULL, &w));
    NO(q_builder_embedding(b, NULL));
    IS(Q_ERR_SHAPE, q_builder_embedding(b, &row));
    IS(Q_ERR_STATE, q_builder_linear(b, &w, NULL));
    IS(Q_ERR_STATE, q_builder_activation(b, 0));
    IS(Q_ERR_STATE, q_builder_finish(b, &made));
    OK(q_builder_rows(b, 32));
    IS(Q_ERR_STATE, q_builder_rows(b, 32));
    NO(q_builder_linear(NULL, &w, NULL));
    NO(q_builder_linear(b, NULL, NULL));
    IS(Q_ERR_SHAPE, q_builder_linear(b, &w, &w));
    NO(q_builder_rmsnorm(NULL, &row, 0));
    NO(q_builder_rmsnorm(b, NULL, 0));
    NO(q_builder_rmsnorm(b, &row, NAN));
    IS(Q_ERR_SHAPE, q_builder_rmsnorm(b, &w, 0));
    NO(q_builder_layernorm(NULL, &row, NULL, 0));
    NO(q_builder_layernorm(b, NULL, NULL, 0));
    NO(q_builder_activation(NULL, 0));
    NO(q_builder_activation(b, 8));
    NO(q_builder_dropout(NULL, 0.5f));
    NO(q_builder_dropout(b, 1));
    NO(q_builder_dropout(b, NAN));
    NO(q_builder_features(NULL, &w, 1));
    NO(q_builder_features(b, NULL, 1));
    IS(Q_ERR_SHAPE, q_builder_features(b, &row, 1));
    NO(q_builder_scale(NULL, 1));
    NO(q_builder_scale(b, INFINITY));
    NO(q_builder_softcap(NULL, 1));
    NO(q_builder_softcap(b, -1));
    NO(q_attention_params_init(NULL, sizeof a));
    IS(Q_ERR_ABI, q_attention_params_init(&a, 2));
    OK(q_attention_params_init(&a, sizeof a));
    NO(q_builder_attention(NULL, &a));
    NO(q_builder_attention(b, NULL));
    NO(q_builder_attention(b, &a)); /* no weights */
    a.q = a.k = a.v = a.o = &w;
    IS(Q_ERR_SHAPE, q_builder_attention(b, &a)); /* no heads */
    a.n_head = 2;
    a.head_dim = 16;
    a.rope_style = 3;
    NO(q_builder_attention(b, &a));
    a.rope_style = Q_ROPE_NORM;
    a.rope_dim = 17;
    IS(Q_ERR_SHAPE, q_builder_attention(b, &a));
    a.rope_dim = 0;
    NO(q_builder_mlp(NULL, 0, &w, NULL, &w, NULL));
    NO(q_builder_mlp(b, 0, NULL, NULL, &w, NULL));
    NO(q_builder_mlp(b, 0, &w, NULL, NULL, NULL));
    NO(q_builder_mlp(b, 4, &w, NULL, &w, NULL));
    NO(q_builder_glu(NULL, 0, &w, &w, &w));
    NO(q_builder_glu(b, 0, NULL, &w, &w));
    NO(q_builder_residual_begin(NULL));
    NO(q_builder_residual_end(NULL));
    IS(Q_ERR_STATE, q_builder_residual_end(b));
    OK(q_builder_residual_begin(b));
    IS(Q_ERR_STATE, q_builder_finish(b, &made));
    OK(q_builder_attention(b, &a));
    OK(q_builder_residual_end(b));
    OK(q_builder_mlp(b, 0, &w, &row, &w, &row));
    NO(q_builder_width(NULL, &width));
    NO(q_builder_width(b, NULL));
    OK(q_builder_width(b, &width));
    TRUE(width == 32);
    NO(q_builder_finish(NULL, &made));
    NO(q_builder_finish(b, NULL));
    TRUE(made == NULL);
    OK(q_builder_finish(b, &made));
    IS(Q_ERR_STATE, q_builder_finish(b, &made));
    q_builder_free(b);
    q_builder_free(NULL);

    OK(q_context_params_init(&params, sizeof params));
    params.n_ctx = 8;
    params.n_outputs = 4;
    OK(q_context_create(made, &params, &c));
    NO(q_model_forward(NULL, c, &input, &output));
    NO(q_model_forward(made, NULL, &input, &output));
    NO(q_model_forward(made, c, NULL, &output));
    NO(q_model_forward(made, c, &input, NULL));
    NO(q_model_forward(made, c, &input, &input));
    NO(q_model_forward(model, c, &input, &output));
    IS(Q_ERR_SHAPE, q_model_forward(made, c, &row, &output));
    IS(Q_ERR_SHAPE, q_model_forward(made, c, &input, &w));
    OK(q_model_forward(made, c, &input, &output));
    OK(q_model_forward(made, c, &input, &output));
    w.dims[0] = 9; /* more rows than the context has positions */
    view = w;
    view.data = more_rows;
    IS(Q_ERR_CONTEXT_FULL, q_model_forward(made, c, &w, &view));
    IS(Q_ERR_STATE, q_context_append(c, 0, (uint32_t *)tokens, 1));
    q_model_free(made);
    OK(q_context_truncate(c, 0, 0));
    OK(q_context_append_rows(c, in, 4));
    IS(Q_ERR_CONTEXT_FULL, q_context_append_rows(c, in, 5));
    NO(q_context_append_rows(c, NULL, 2));
    q_context_free(c);

    OK(q_tensor_wrap(Q_TYPE_I32, 1, &four, tokens, sizeof tokens, &ids));
    OK(q_tensor_wrap(Q_TYPE_F32, 2, wide, many, sizeof many, &logits));
    OK(q_model_forward(model, context, &ids, &logits));
    OK(q_tensor_reshape(&logits, 2, wide, &logits));
    OK(q_tensor_slice(&logits, 0, 0, 1, &logits));
    IS(Q_ERR_SHAPE, q_model_forward(model, context, &ids, &logits));
    OK(q_tensor_reshape(&logits, 1, &wide[1], &logits));
    OK(q_model_forward(model, context, &ids, &logits));
    tokens[2] = -1;
    NO(q_model_forward(model, context, &ids, &logits));
    tokens[2] = 98;
    NO(q_model_forward(model, context, &ids, &logits));
    IS(Q_ERR_SHAPE, q_model_forward(model, context, &input, &logits));
}

#ifdef Q_ENABLE_TRAINING
/* Predictions of 4 rows and 3 classes, with targets of every kind. */
static float logits[12], gaps[12], distribution[12], weights3[3] = {1, 2, 0.5f};
static int32_t classes[4] = {0, 2, -100, 1};
static q_tensor predictions, gradients, labels, shares;

static q_tensor wrapped(uint32_t type, uint32_t n_dims, uint64_t a, uint64_t b, void *data) {
    uint64_t dims[2];
    q_tensor t;
    dims[0] = a;
    dims[1] = b;
    OK(q_tensor_wrap(type, n_dims, dims, data, 1 << 20, &t));
    return t;
}

static void test_loss(void) {
    q_error_code (*value[])(const q_tensor *, const q_tensor *, float *) = {
        q_loss_mse, q_loss_crossentropy, q_loss_mse_avx2, q_loss_crossentropy_avx2};
    q_error_code (*grad[])(const q_tensor *, const q_tensor *, q_tensor *) = {
        q_loss_mse_grad, q_loss_crossentropy_grad, q_loss_mse_grad_avx2, q_loss_crossentropy_grad_avx2};
    q_loss_params p;
    q_loss_result result;
    q_tensor t, wrong;
    uint32_t threads, isa;
    float loss = -1;
    int i;
    for (i = 0; i < 12; i++) logits[i] = (float)(i % 5) - 2, distribution[i] = 1 / 3.0f;
    predictions = wrapped(Q_TYPE_F32, 2, 4, 3, logits);
    gradients = wrapped(Q_TYPE_F32, 2, 4, 3, gaps);
    labels = wrapped(Q_TYPE_I32, 1, 4, 0, classes);
    shares = wrapped(Q_TYPE_F32, 2, 4, 3, distribution);
    OK(q_runtime_info(runtime, &threads, &isa));
    for (i = 0; i < 4; i++) {
        const q_tensor *other = i % 2 ? &labels : &shares;
        if (i >= 2 && isa == Q_ISA_SCALAR) continue; /* the calls with NULL mean an instruction set that may be missing */
        NO(value[i](NULL, other, &loss));
        NO(value[i](&predictions, NULL, &loss));
        NO(value[i](&predictions, other, NULL));
        NO(grad[i](NULL, other, &gradients));
        NO(grad[i](&predictions, NULL, &gradients));
        NO(grad[i](&predictions, other, NULL));
        wrong = predictions;
        wrong.data = NULL;
        NO(value[i](&wrong, other, &loss));
        NO(grad[i](&predictions, other, &wrong));
        wrong = wrapped(Q_TYPE_F32, 2, 3, 4, logits);
        IS(Q_ERR_SHAPE, value[i](&wrong, other, &loss));
        IS(Q_ERR_SHAPE, grad[i](&predictions, other, &wrong));
        wrong = wrapped(Q_TYPE_I32, 2, 4, 3, gaps);
        IS(Q_ERR_SHAPE, value[i](&wrong, other, &loss));
        IS(Q_ERR_SHAPE, grad[i](&predictions, other, &wrong));
        wrong = wrapped(Q_TYPE_F16, 2, 4, 3, gaps);
        IS(Q_ERR_SHAPE, value[i](&predictions, &wrong, &loss));
        OK(q_tensor_transpose(&predictions, 0, 1, &wrong));
        IS(Q_ERR_SHAPE, value[i](&wrong, other, &loss));
        wrong = gradients;
        wrong.flags = Q_TENSOR_READONLY;
        NO(grad[i](&predictions, other, &wrong));
        NO(grad[i](&predictions, &shares, &shares));
        TRUE(loss == -1);
        gaps[0] = 7;
        OK(value[i](&predictions, other, &loss));
        TRUE(loss > 0 && gaps[0] == 7);
        OK(grad[i](&predictions, other, &gradients));
        TRUE(gaps[0] != 7);
        loss = -1;
    }
    NO(q_loss_mse(&predictions, &predictions, NULL));
    NO(q_loss_mse_grad(&predictions, &shares, &predictions));
    if (isa != Q_ISA_SCALAR) {
        NO(q_loss_mse_avx2(&predictions, &predictions, NULL));
        NO(q_loss_mse_grad_avx2(&predictions, &shares, &predictions));
        NO(q_loss_crossentropy_avx2(&predictions, &labels, NULL));
        NO(q_loss_crossentropy_grad_avx2(&predictions, &labels, NULL));
    }
    /* Targets of other shapes, and classes that there are not. */
    t = wrapped(Q_TYPE_I32, 2, 4, 1, classes);
    OK(q_loss_crossentropy(&predictions, &t, &loss));
    t = wrapped(Q_TYPE_I32, 2, 2, 2, classes);
    IS(Q_ERR_SHAPE, q_loss_crossentropy(&predictions, &t, &loss));
    t = wrapped(Q_TYPE_I32, 1, 3, 0, classes);
    IS(Q_ERR_SHAPE, q_loss_crossentropy(&predictions, &t, &loss));
    classes[3] = 3;
    gaps[0] = 7;
    NO(q_loss_crossentropy(&predictions, &labels, &loss));
    NO(q_loss_crossentropy_grad(&predictions, &labels, &gradients));
    TRUE(gaps[0] == 7);
    classes[3] = -1;
    NO(q_loss_crossentropy(&predictions, &labels, &loss));
    classes[3] = 1;

    NO(q_loss_params_init(NULL, sizeof p));
    IS(Q_ERR_ABI, q_loss_params_init(&p, 5));
    OK(q_loss_params_init(&p, sizeof p));
    TRUE(p.type == Q_LOSS_CROSSENTROPY && p.ignored == -100 && p.reduction == Q_REDUCTION_MEAN);
    NO(q_loss_compute(&p, NULL, &labels, &gradients, &result, sizeof result));
    NO(q_loss_compute(&p, &predictions, NULL, &gradients, &result, sizeof result));
    IS(Q_ERR_ABI, q_loss_compute(&p, &predictions, &labels, &gradients, &result, 0));
    TRUE(gaps[0] == 7);
    OK(q_loss_compute(&p, &predictions, &labels, NULL, NULL, 0));
    OK(q_loss_compute(NULL, &predictions, &labels, &gradients, &result, sizeof result));
    TRUE(result.counted == 3 && result.weight == 3 && gaps[0] != 7 && gaps[6] == 0);
    p.type = 2;
    NO(q_loss_compute(&p, &predictions, &labels, NULL, NULL, 0));
    p.type = Q_LOSS_CROSSENTROPY;
    p.reduction = 9;
    NO(q_loss_compute(&p, &predictions, &labels, NULL, NULL, 0));
    p.reduction = Q_REDUCTION_SUM;
    p.label_smoothing = NAN;
    NO(q_loss_compute(&p, &predictions, &labels, NULL, NULL, 0));
    p.label_smoothing = 0.1f;
    p.reserved = 1;
    IS(Q_ERR_ABI, q_loss_compute(&p, &predictions, &labels, NULL, NULL, 0));
    p.reserved = 0;
    p.runtime = (q_runtime *)model;
    NO(q_loss_compute(&p, &predictions, &labels, NULL, NULL, 0));
    p.runtime = runtime;
    t = wrapped(Q_TYPE_F32, 1, 2, 0, weights3);
    p.class_weights = &t;
    IS(Q_ERR_SHAPE, q_loss_compute(&p, &predictions, &labels, NULL, NULL, 0));
    t = wrapped(Q_TYPE_F32, 1, 3, 0, weights3);
    OK(q_loss_compute(&p, &predictions, &labels, NULL, &result, sizeof result));
    TRUE(result.weight == 3.5);
    NO(q_loss_compute(&p, &predictions, &shares, NULL, NULL, 0));
    weights3[1] = -1;
    NO(q_loss_compute(&p, &predictions, &labels, NULL, NULL, 0));
    /* The gradient may take the place of the logits. */
    OK(q_loss_crossentropy_grad(&predictions, &labels, &gradients));
    OK(q_loss_crossentropy_grad(&predictions, &labels, &predictions));
    TRUE(memcmp(logits, gaps, sizeof gaps) == 0);
}

static void test_clip(void) {
    q_tensor two[2];
    float norm = -1;
    int i;
    for (i = 0; i < 12; i++) logits[i] = 3, gaps[i] = -4;
    two[0] = predictions;
    two[1] = gradients;
    NO(q_grad_clip_norm(runtime, NULL, 2, 1, &norm));
    NO(q_grad_clip_norm((q_runtime *)model, two, 2, 1, &norm));
    NO(q_grad_clip_norm(runtime, two, 2, 0, &norm));
    NO(q_grad_clip_norm(runtime, two, 2, NAN, &norm));
    NO(q_grad_clip_norm(runtime, two, 2, -1, &norm));
    NO(q_grad_clip_norm(runtime, two, (size_t)-1, 1, &norm));
    NO(q_grad_clip_value(runtime, NULL, 2, 1));
    NO(q_grad_clip_value(runtime, two, 2, INFINITY));
    two[1].type = Q_TYPE_I32;
    IS(Q_ERR_SHAPE, q_grad_clip_norm(runtime, two, 2, 1, &norm));
    IS(Q_ERR_SHAPE, q_grad_clip_value(runtime, two, 2, 1));
    two[1] = gradients;
    gaps[5] = NAN;
    IS(Q_ERR_NOT_FINITE, q_grad_clip_norm(NULL, two, 2, 1, &norm));
    TRUE(norm == -1 && logits[0] == 3 && gaps[0] == -4);
    gaps[5] = -4;
    OK(q_grad_clip_value(NULL, two, 2, 3.5f));
    TRUE(logits[0] == 3 && gaps[0] == -3.5f);
    OK(q_grad_clip_norm(runtime, two, 2, 100, &norm));
    TRUE(fabsf(norm - sqrtf(12 * 9 + 12 * 12.25f)) < 1e-4f && logits[0] == 3);
    OK(q_grad_clip_norm(NULL, two, 2, 1, NULL));
    OK(q_grad_clip_norm(runtime, two, 2, 100, &norm));
    TRUE(fabsf(norm - 1) < 1e-5f);
    OK(q_grad_clip_norm(runtime, NULL, 0, 1, &norm));
    TRUE(norm == 0);
}

static void test_optimizer(void) {
    static float w[12], g[12], m[12], v[12], others[12];
    float nan = NAN, rate = 0;
    q_optimizer_params p;
    q_optimizer *o, *out = NULL;
    q_context *c = NULL;
    q_context_params cp;
    q_tensor wt, gt, mt, vt, short_w, both[2];
    q_plan plan;
    uint64_t bytes = 7, step = 9;
    int i;
    for (i = 0; i < 12; i++) w[i] = 1, g[i] = 1, m[i] = 0.5f, v[i] = 0.25f;
    wt = wrapped(Q_TYPE_F32, 2, 4, 3, w);
    gt = wrapped(Q_TYPE_F32, 2, 4, 3, g);
    mt = wrapped(Q_TYPE_F32, 2, 4, 3, m);
    vt = wrapped(Q_TYPE_F32, 2, 4, 3, v);

    TRUE(q_optimizer_create(Q_OPTIM_ADAM, 0.1f, NULL) == NULL);
    TRUE(q_optimizer_create(Q_OPTIM_ADAM, 0.1f, (q_context *)model) == NULL);
    TRUE(q_optimizer_create(3, 0.1f, context) == NULL);
    TRUE(q_optimizer_create(Q_OPTIM_SGD, NAN, context) == NULL);
    TRUE(q_optimizer_create(Q_OPTIM_SGD, -1, context) == NULL);
    TRUE(q_optimizer_create(Q_OPTIM_ADAMW, INFINITY, context) == NULL);
    TRUE(q_optimizer_adam_create(0.1f, 0.9f, 0.999f, 1e-8f, 0, 0, NULL) == NULL);
    TRUE(q_optimizer_adam_create(nan, 0.9f, 0.999f, 1e-8f, 0, 0, context) == NULL);
    TRUE(q_optimizer_adam_create(0.1f, 1, 0.999f, 1e-8f, 0, 0, context) == NULL);
    TRUE(q_optimizer_adam_create(0.1f, 0.9f, nan, 1e-8f, 0, 0, context) == NULL);
    TRUE(q_optimizer_adam_create(0.1f, 0.9f, 0.999f, 0, 0, 0, context) == NULL);
    TRUE(q_optimizer_adam_create(0.1f, 0.9f, 0.999f, 1e-8f, -1, 0, context) == NULL);
    TRUE(q_optimizer_adam_create(0.1f, 0.9f, 0.999f, 1e-8f, 0, nan, context) == NULL);
    q_optimizer_zero_grad(NULL);
    q_optimizer_zero_grad((q_optimizer *)model);
    q_optimizer_free(NULL);
    q_optimizer_free((q_optimizer *)model);

    NO(q_optimizer_params_init(NULL, sizeof p));
    IS(Q_ERR_ABI, q_optimizer_params_init(&p, 2));
    OK(q_optimizer_params_init(&p, sizeof p));
    TRUE(p.type == Q_OPTIM_ADAMW && p.moment_bits == 32 && p.beta1 == 0.9);
    NO(q_optimizer_create_with(NULL, &p, &out));
    NO(q_optimizer_create_with(context, &p, NULL));
    p.moment_bits = 16;
    NO(q_optimizer_create_with(context, &p, &out));
    p.moment_bits = 8;
    p.type = Q_OPTIM_ADAM;
    IS(Q_ERR_UNSUPPORTED, q_optimizer_create_with(context, &p, &out));
    p.moment_bits = 32;
    p.type = Q_OPTIM_SGD;
    p.nesterov = 1;
    NO(q_optimizer_create_with(context, &p, &out));
    p.nesterov = 2;
    NO(q_optimizer_create_with(context, &p, &out));
    p.nesterov = 0;
    p.momentum = 1;
    NO(q_optimizer_create_with(context, &p, &out));
    TRUE(out == NULL);

    o = q_optimizer_create(Q_OPTIM_ADAM, 0.5f, context);
    if (!o) exit(3);
    NO(q_context_append((q_context *)o, 0, NULL, 0));
    NO(q_optimizer_step(NULL, &wt, &gt));
    NO(q_optimizer_step((q_optimizer *)context, &wt, &gt));
    NO(q_optimizer_step(o, NULL, &gt));
    NO(q_optimizer_step(o, &wt, NULL));
    NO(q_optimizer_step(o, &wt, &wt));
    IS(Q_ERR_SHAPE, q_optimizer_step(o, &wt, &labels));
    short_w = wrapped(Q_TYPE_F32, 2, 3, 4, g);
    IS(Q_ERR_SHAPE, q_optimizer_step(o, &wt, &short_w));
    short_w = wrapped(Q_TYPE_F16, 2, 4, 3, w);
    IS(Q_ERR_SHAPE, q_optimizer_step(o, &short_w, &gt));
    short_w = wrapped(Q_TYPE_F32, 1, 0, 0, w);
    IS(Q_ERR_SHAPE, q_optimizer_step(o, &short_w, &short_w));
    wt.flags = Q_TENSOR_READONLY;
    NO(q_optimizer_step(o, &wt, &gt));
    wt.flags = 0;
    g[7] = NAN;
    IS(Q_ERR_NOT_FINITE, q_optimizer_step(o, &wt, &gt));
    g[7] = INFINITY;
    IS(Q_ERR_NOT_FINITE, q_optimizer_step(o, &wt, &gt));
    g[7] = 1;
    OK(q_optimizer_get_step(o, &wt, &step));
    TRUE(step == 0 && w[0] == 1 && w[7] == 1);
    OK(q_optimizer_step(o, &wt, &gt));
    TRUE(fabsf(w[0] - 0.5f) < 1e-6f && g[0] == 1);
    OK(q_optimizer_get_step(o, &wt, &step));
    TRUE(step == 1);

    /* Tensors that are not the one that was bound. */
    short_w = wrapped(Q_TYPE_F32, 1, 5, 0, w);
    NO(q_optimizer_get_step(o, NULL, &step));
    NO(q_optimizer_get_step(NULL, &wt, &step));
    NO(q_optimizer_get_step(o, &wt, NULL));
    IS(Q_ERR_SHAPE, q_optimizer_get_step(o, &short_w, &step));
    IS(Q_ERR_NOT_FOUND, q_optimizer_get_step(o, &mt, &step));
    NO(q_optimizer_set_step(NULL, &wt, 5));
    NO(q_optimizer_set_step(o, NULL, 5));
    IS(Q_ERR_NOT_FOUND, q_optimizer_set_step(o, &gt, 5));
    OK(q_optimizer_set_step(o, &wt, 5));
    OK(q_optimizer_get_step(o, &wt, &step));
    TRUE(step == 5);
    short_w = wrapped(Q_TYPE_F32, 1, 5, 0, &w[2]);
    NO(q_optimizer_bind(o, &short_w, NULL, 1, 0));
    both[0] = wrapped(Q_TYPE_F32, 1, 8, 0, others);
    both[1] = wrapped(Q_TYPE_F32, 1, 8, 0, &others[4]);
    NO(q_optimizer_bind(o, both, NULL, 2, 0));
    both[1] = both[0];
    NO(q_optimizer_bind(o, both, NULL, 2, 0));
    NO(q_optimizer_bind(NULL, both, NULL, 1, 0));
    NO(q_optimizer_bind(o, NULL, NULL, 1, 0));
    NO(q_optimizer_bind(o, both, both, 1, 0));
    IS(Q_ERR_ABI, q_optimizer_bind(o, both, NULL, 1, 2));
    NO(q_optimizer_bind(o, both, NULL, (size_t)-1, 0));
    NO(q_optimizer_plan(NULL, both, 1, &bytes));
    NO(q_optimizer_plan(o, NULL, 1, &bytes));
    NO(q_optimizer_plan(o, both, 1, NULL));
    OK(q_optimizer_plan(o, both, 1, &bytes));
    TRUE(bytes == 2 * 1024);
    OK(q_optimizer_bind(o, both, NULL, 1, Q_OPTIM_NO_DECAY));
    OK(q_optimizer_bind(o, both, NULL, 1, 0));
    OK(q_optimizer_bind(o, NULL, NULL, 0, 0));
    OK(q_optimizer_plan(o, both, 1, &bytes));
    TRUE(bytes == 0);
    NO(q_optimizer_memory(NULL, &bytes));
    NO(q_optimizer_memory(o, NULL));
    OK(q_optimizer_memory(o, &bytes));
    TRUE(bytes == 4 * 1024);

    NO(q_optimizer_get_moments(NULL, &wt, &mt, &vt));
    NO(q_optimizer_get_moments(o, NULL, &mt, &vt));
    IS(Q_ERR_NOT_FOUND, q_optimizer_get_moments(o, &gt, &mt, &vt));
    IS(Q_ERR_SHAPE, q_optimizer_get_moments(o, &wt, &labels, &vt));
    OK(q_optimizer_get_moments(o, &wt, NULL, NULL));
    OK(q_optimizer_get_moments(o, &wt, &mt, &vt));
    TRUE(fabsf(m[3] - 0.1f) < 1e-6f && fabsf(v[3] - 0.001f) < 1e-8f);
    m[3] = NAN;
    NO(q_optimizer_set_moments(o, &wt, &mt, NULL));
    m[3] = -2;
    v[3] = -1;
    NO(q_optimizer_set_moments(o, &wt, NULL, &vt));
    v[3] = 4;
    NO(q_optimizer_set_moments(NULL, &wt, &mt, &vt));
    NO(q_optimizer_set_moments(o, NULL, &mt, &vt));
    IS(Q_ERR_SHAPE, q_optimizer_set_moments(o, &wt, &short_w, &vt));
    OK(q_optimizer_set_moments(o, &wt, &mt, &vt));
    m[3] = v[3] = 0;
    OK(q_optimizer_get_moments(o, &wt, &mt, &vt));
    TRUE(m[3] == -2 && v[3] == 4);

    NO(q_optimizer_learning_rate(NULL, &rate));
    NO(q_optimizer_learning_rate(o, NULL));
    NO(q_optimizer_set_learning_rate(NULL, 0.1f));
    NO(q_optimizer_set_learning_rate(o, NAN));
    NO(q_optimizer_set_learning_rate(o, -1));
    OK(q_optimizer_set_learning_rate(o, 0.25f));
    OK(q_optimizer_learning_rate(o, &rate));
    TRUE(rate == 0.25f);
    NO(q_optimizer_get_params(NULL, &p, sizeof p));
    NO(q_optimizer_get_params(o, NULL, sizeof p));
    IS(Q_ERR_ABI, q_optimizer_get_params(o, &p, 12));
    OK(q_optimizer_get_params(o, &p, sizeof p));
    TRUE(p.type == Q_OPTIM_ADAM && p.learning_rate == 0.25 && p.weight_decay == 0);
    NO(q_optimizer_set_params(NULL, &p));
    NO(q_optimizer_set_params(o, NULL));
    p.beta2 = 2;
    NO(q_optimizer_set_params(o, &p));
    p.beta2 = 0.5;
    p.type = Q_OPTIM_SGD;
    IS(Q_ERR_STATE, q_optimizer_set_params(o, &p));
    p.type = Q_OPTIM_ADAM;
    p.weight_decay = NAN;
    NO(q_optimizer_set_params(o, &p));
    p.weight_decay = 0.125;
    OK(q_optimizer_set_params(o, &p));
    OK(q_optimizer_get_params(o, &p, sizeof p));
    TRUE(p.beta2 == 0.5 && p.weight_decay == 0.125);
    q_optimizer_zero_grad(o);
    TRUE(g[0] == 0 && g[11] == 0);
    g[0] = 1;
    gt.flags = Q_TENSOR_READONLY;
    OK(q_optimizer_step(o, &wt, &gt));
    q_optimizer_zero_grad(o);
    TRUE(g[0] == 1);
    gt.flags = 0;
    q_optimizer_free(o);

    /* Limits: of the optimizer, of the context, of the runtime. A context gets back what its optimizers held. */
    OK(q_optimizer_params_init(&p, sizeof p));
    p.memory_limit = 2 * 1024;
    OK(q_optimizer_create_with(context, &p, &o));
    OK(q_optimizer_step(o, &wt, &gt));
    IS(Q_ERR_BUDGET, q_optimizer_step(o, &mt, &gt));
    IS(Q_ERR_BUDGET, q_optimizer_bind(o, &mt, NULL, 1, 0));
    OK(q_optimizer_step(o, &wt, &gt));
    q_optimizer_free(o);
    OK(q_context_params_init(&cp, sizeof cp));
    cp.n_ctx = 16;
    OK(q_model_plan(path, strlen(path), &cp, 2, &plan, sizeof plan));
    cp.budget = plan.total_without_mapped + 2 * 1024;
    OK(q_context_create(model, &cp, &c));
    for (i = 0; i < 2; i++) {
        o = q_optimizer_create(Q_OPTIM_ADAMW, 0.1f, c);
        if (!o) exit(3);
        OK(q_optimizer_step(o, &wt, &gt));
        IS(Q_ERR_BUDGET, q_optimizer_step(o, &mt, &gt));
        out = q_optimizer_create(Q_OPTIM_SGD, 0.1f, c);
        OK(q_optimizer_step(out, &mt, &gt));
        q_optimizer_free(out);
        q_optimizer_free(o);
    }
    o = q_optimizer_create(Q_OPTIM_ADAMW, 0.1f, c);
    q_context_free(c);
    OK(q_optimizer_step(o, &wt, &gt));
    q_optimizer_free(o);
}

/* Sequences of one token each, which says the next. */
static int32_t fill(uint64_t number, q_train_batch *batch, void *user) {
    int *mode = user;
    uint32_t i;
    if (*mode == 1) return 0;
    if (*mode == 2) return -1;
    batch->n_seqs = *mode == 3 ? 0 : *mode == 4 ? 1000 : 2;
    for (i = 0; i < 2; i++) {
        batch->lens[i] = *mode == 5 ? 1000 : 1;
        batch->tokens[i] = *mode == 6 ? 5000 : (uint32_t)(number % 90 + i);
        batch->targets[i] = *mode == 7 ? -100 : *mode == 8 ? 98 : (int32_t)(number % 90 + i + 1);
    }
    return 1;
}

static int32_t stop_at_two(const q_train_report *report, void *user) {
    (void)user;
    return report->step == 2;
}

static int32_t only_norms(const char *name, size_t len, void *user) {
    (void)user;
    return len > 11 && memcmp(name + len - 11, "norm.weight", 11) == 0;
}

static int32_t nothing(const char *name, size_t len, void *user) {
    (void)name, (void)len, (void)user;
    return 0;
}

static void test_adapter(void) {
    char file[1024], notes[1024];
    size_t len;
    q_context_params cp;
    q_trainer_params p;
    q_context *c = NULL, *small = NULL, *theirs = NULL;
    q_trainer *trainer = NULL;
    q_adapter *a = NULL, *b = NULL;
    q_adapter_info info;
    q_model *other = NULL;
    FILE *f;
    snprintf(file, sizeof file, "%s/misuse-adapter.gguf", folder);
    len = strlen(file);
    OK(q_context_params_init(&cp, sizeof cp));
    cp.n_ctx = 8;
    OK(q_context_create(model, &cp, &small));
    cp.adapters = 1;
    cp.adapter_rank = 4;
    OK(q_context_create(model, &cp, &c));
    OK(q_trainer_params_init(&p, sizeof p));
    p.max_rows = 8;
    p.adapter_rank = 4;
    p.adapter_kind = 3;
    NO(q_trainer_create(c, &p, &trainer));
    p.adapter_kind = Q_ADAPTER_DORA;
    p.adapter_targets = "q,nose";
    NO(q_trainer_create(c, &p, &trainer));
    p.adapter_targets = "\xff";
    NO(q_trainer_create(c, &p, &trainer));
    p.adapter_targets = "experts";
    NO(q_trainer_create(c, &p, &trainer));
    p.adapter_targets = "q, v";
    p.adapter_alpha = NAN;
    NO(q_trainer_create(c, &p, &trainer));
    p.adapter_alpha = 0;
    p.adapter_dropout = 1;
    NO(q_trainer_create(c, &p, &trainer));
    p.adapter_dropout = 0.1f;
    p.eight_bit = 2;
    NO(q_trainer_create(c, &p, &trainer));
    p.eight_bit = 1;
    p.reserved = 1;
    IS(Q_ERR_ABI, q_trainer_create(c, &p, &trainer));
    p.reserved = 0;
    OK(q_trainer_create(small, &p, &trainer));
    IS(Q_ERR_STATE, q_trainer_publish(trainer, small)); /* made for no rank */
    q_trainer_free(trainer);
    trainer = NULL;
    OK(q_trainer_create(c, &p, &trainer));
    OK(q_trainer_publish(trainer, c));
    NO(q_trainer_export_adapter(NULL, file, len));
    NO(q_trainer_export_adapter(trainer, NULL, len));
    IS(Q_ERR_IO, q_trainer_export_adapter(trainer, "/no/such/folder/x", 17));
    OK(q_trainer_export_adapter(trainer, file, len));
    q_trainer_free(trainer);

    NO(q_adapter_load(NULL, file, len, 0, &a));
    NO(q_adapter_load(model, NULL, len, 0, &a));
    NO(q_adapter_load(model, file, len, 0, NULL));
    NO(q_adapter_load(model, file, len, 2, &a));
    NO(q_adapter_load((q_model *)c, file, len, 0, &a));
    IS(Q_ERR_NOT_FOUND, q_adapter_load(model, file, len - 1, 0, &a));
    IS(Q_ERR_FORMAT, q_adapter_load(model, path, strlen(path), 0, &a)); /* a model, and no adapter */
    snprintf(notes, sizeof notes, "%s/misuse-notes", folder);
    f = fopen(notes, "wb");
    if (f) {
        fputs("no adapter", f);
        fclose(f);
    }
    IS(Q_ERR_FORMAT, q_adapter_load(model, notes, strlen(notes), 0, &a));
    TRUE(a == NULL);
    OK(q_adapter_load(model, file, len, 0, &a));
    OK(q_adapter_load(model, file, len, 1, &b));
    NO(q_adapter_get_info(NULL, &info, sizeof info));
    NO(q_adapter_get_info(a, NULL, sizeof info));
    IS(Q_ERR_ABI, q_adapter_get_info(a, &info, 3));
    OK(q_adapter_get_info(a, &info, sizeof info));
    TRUE(info.rank == 4 && info.bytes > 0);
    NO(q_adapter_attach(NULL, c, 1));
    NO(q_adapter_attach(a, NULL, 1));
    NO(q_adapter_attach((q_adapter *)c, c, 1));
    NO(q_adapter_attach(a, c, NAN));
    NO(q_adapter_attach(a, c, INFINITY));
    IS(Q_ERR_STATE, q_adapter_attach(a, small, 1));
    NO(q_adapter_detach(a, c));
    OK(q_adapter_attach(a, c, 0.5f));
    OK(q_adapter_attach(a, c, 1));
    IS(Q_ERR_STATE, q_adapter_attach(b, c, 1)); /* room for one */
    NO(q_adapter_detach(b, c));
    NO(q_adapter_detach(NULL, c));
    NO(q_adapter_detach(a, NULL));
    OK(q_model_load(runtime, other_path, strlen(other_path), NULL, &other));
    OK(q_context_create(other, &cp, &theirs));
    NO(q_adapter_attach(a, theirs, 1));
    TRUE(q_adapter_load(other, file, len, 1, &b) != Q_OK);
    q_context_free(theirs);
    q_model_free(other);
    q_adapter_free(a); /* the context keeps it */
    OK(q_context_append(c, 0, (const uint32_t[]){5, 6}, 2));
    q_adapter_free(b);
    q_adapter_free(NULL);
    q_context_free(small);
    q_context_free(c);
    remove(file);
    remove(notes);
}

static void test_trainer(void) {
    static float out[4 * 98], dy[4 * 98];
    int32_t tokens[4] = {5, 6, 7, 8};
    char name[64], file[1024];
    int mode = 0;
    size_t needed = 0, len;
    uint32_t n = 0, i;
    uint64_t step = 0;
    float norm = -1;
    q_context_params cp;
    q_trainer_params p;
    q_train_params t;
    q_train_result result;
    q_context *c = NULL;
    q_trainer *trainer = NULL, *second = NULL;
    q_model *again = NULL;
    q_plan plan, memory;
    q_tensor ids, y, g, w, other;
    ids = wrapped(Q_TYPE_I32, 1, 4, 0, tokens);
    y = wrapped(Q_TYPE_F32, 2, 4, 98, out);
    g = wrapped(Q_TYPE_F32, 2, 4, 98, dy);
    OK(q_context_params_init(&cp, sizeof cp));
    cp.n_ctx = 8;
    OK(q_context_create(model, &cp, &c));
    NO(q_trainer_params_init(NULL, sizeof p));
    IS(Q_ERR_ABI, q_trainer_params_init(&p, 3));
    OK(q_trainer_params_init(&p, sizeof p));
    p.max_rows = 8;
    NO(q_trainer_create(NULL, &p, &trainer));
    NO(q_trainer_create(c, &p, NULL));
    NO(q_trainer_create((q_context *)model, &p, &trainer));
    p.max_rows = 0;
    NO(q_trainer_create(c, &p, &trainer));
    p.max_rows = 8;
    p.max_len = 9;
    NO(q_trainer_create(c, &p, &trainer));
    p.max_len = 0;
    p.type = 7;
    NO(q_trainer_create(c, &p, &trainer));
    p.type = Q_LOSS_CROSSENTROPY;
    p.activations = 3;
    NO(q_trainer_create(c, &p, &trainer));
    p.activations = 0;
    p.accumulate = 0;
    NO(q_trainer_create(c, &p, &trainer));
    p.accumulate = 1;
    p.trained = nothing;
    NO(q_trainer_create(c, &p, &trainer));
    p.trained = NULL;
    p.budget = 1000;
    IS(Q_ERR_BUDGET, q_trainer_create(c, &p, &trainer));
    p.budget = 0;
    len = strlen(path);
    NO(q_trainer_plan(NULL, len, &p, 2, &plan, sizeof plan));
    NO(q_trainer_plan(path, len, &p, 2, NULL, sizeof plan));
    IS(Q_ERR_ABI, q_trainer_plan(path, len, &p, 2, &plan, 0));
    IS(Q_ERR_NOT_FOUND, q_trainer_plan(path, len - 1, &p, 2, &plan, sizeof plan));
    OK(q_trainer_plan(path, len, &p, 2, &plan, sizeof plan));
    p.budget = plan.total_without_mapped - 1;
    IS(Q_ERR_BUDGET, q_trainer_plan(path, len, &p, 2, &memory, sizeof memory));
    IS(Q_ERR_BUDGET, q_trainer_create(c, &p, &trainer));
    TRUE(trainer == NULL);
    IS(Q_ERR_STATE, q_model_forward_train(model, c, &ids, &y));
    IS(Q_ERR_STATE, q_model_backward(model, c, &g, 0));
    OK(q_train_params_init(&t, sizeof t));
    t.steps = 3;
    t.data = fill;
    t.user = &mode;
    IS(Q_ERR_STATE, q_model_train(model, c, &t, NULL, 0));
    p.budget++;
    OK(q_trainer_create(c, &p, &trainer));
    IS(Q_ERR_STATE, q_trainer_create(c, &p, &second));
    NO(q_trainer_memory(NULL, &memory, sizeof memory));
    NO(q_trainer_memory(trainer, NULL, sizeof memory));
    OK(q_trainer_memory(trainer, &memory, sizeof memory));
    TRUE(memcmp(&plan, &memory, sizeof plan) == 0);

    NO(q_model_forward_train(NULL, c, &ids, &y));
    NO(q_model_forward_train(model, NULL, &ids, &y));
    NO(q_model_forward_train(model, c, NULL, &y));
    NO(q_model_forward_train(model, c, &ids, NULL));
    NO(q_model_forward_train(model, c, &y, &y));
    IS(Q_ERR_SHAPE, q_model_forward_train(model, c, &g, &y));
    other = wrapped(Q_TYPE_F32, 2, 3, 98, out);
    IS(Q_ERR_SHAPE, q_model_forward_train(model, c, &ids, &other));
    other = wrapped(Q_TYPE_F32, 2, 98, 4, out);
    IS(Q_ERR_SHAPE, q_model_forward_train(model, c, &ids, &other));
    tokens[1] = 98;
    NO(q_model_forward_train(model, c, &ids, &y));
    tokens[1] = -1;
    NO(q_model_forward_train(model, c, &ids, &y));
    tokens[1] = 6;
    IS(Q_ERR_STATE, q_model_backward(model, c, &g, 0));
    OK(q_model_forward_train(model, c, &ids, &y));
    NO(q_model_backward(NULL, c, &g, 0));
    NO(q_model_backward(model, NULL, &g, 0));
    NO(q_model_backward(model, c, NULL, 0));
    IS(Q_ERR_SHAPE, q_model_backward(model, c, &ids, 0));
    NO(q_model_backward(model, c, &g, 1000));
    for (i = 0; i < 4 * 98; i++) dy[i] = 0.01f;
    OK(q_model_backward(model, c, &g, 0));
    IS(Q_ERR_STATE, q_model_backward(model, c, &g, 0));

    NO(q_trainer_tensors(NULL, &n));
    NO(q_trainer_tensors(trainer, NULL));
    OK(q_trainer_tensors(trainer, &n));
    TRUE(n > 5);
    NO(q_trainer_tensor(NULL, 0, &w, &g));
    NO(q_trainer_tensor(trainer, n, &w, &g));
    OK(q_trainer_tensor(trainer, 0, &w, NULL));
    TRUE(w.n_dims == 2 && w.dims[0] == 98);
    OK(q_trainer_tensor(trainer, 0, NULL, &other));
    NO(q_trainer_tensor_name(NULL, 0, name, sizeof name, &needed));
    NO(q_trainer_tensor_name(trainer, n, name, sizeof name, &needed));
    IS(Q_ERR_BUFFER_TOO_SMALL, q_trainer_tensor_name(trainer, 0, name, 3, &needed));
    OK(q_trainer_tensor_name(trainer, 0, name, sizeof name, &needed));
    TRUE(needed == 17 && memcmp(name, "token_embd.weight", 17) == 0);
    NO(q_trainer_step(NULL, 0.1f, 1, &norm));
    NO(q_trainer_step(trainer, NAN, 1, &norm));
    NO(q_trainer_step(trainer, 0.1f, -1, &norm));
    ((float *)other.data)[5 * w.dims[1] + 3] = NAN; /* a row of a token that was there */
    IS(Q_ERR_NOT_FINITE, q_trainer_step(trainer, 0.1f, 1, &norm));
    NO(q_trainer_zero_grad(NULL));
    OK(q_trainer_zero_grad(trainer));
    OK(q_trainer_step(trainer, 0.001f, 0, &norm));
    TRUE(norm == 0);
    OK(q_trainer_step(trainer, 0, 1, NULL));

    NO(q_trainer_publish(NULL, c));
    NO(q_trainer_publish(trainer, NULL));
    NO(q_trainer_publish(trainer, context));
    OK(q_trainer_publish(trainer, c));
    OK(q_trainer_publish(trainer, c));
    snprintf(file, sizeof file, "%s/misuse.qckpt", folder);
    NO(q_trainer_save(NULL, file, strlen(file)));
    NO(q_trainer_save(trainer, NULL, 4));
    IS(Q_ERR_IO, q_trainer_save(trainer, "/no/such/folder/x", 17));
    OK(q_trainer_save(trainer, file, strlen(file)));
    NO(q_trainer_load(NULL, file, strlen(file), &step));
    NO(q_trainer_load(trainer, NULL, 4, &step));
    IS(Q_ERR_NOT_FOUND, q_trainer_load(trainer, file, strlen(file) - 1, &step));
    IS(Q_ERR_FORMAT, q_trainer_load(trainer, path, len, &step));
    OK(q_trainer_load(trainer, file, strlen(file), &step));
    TRUE(step == 2);
    OK(q_trainer_load(trainer, file, strlen(file), NULL));
    snprintf(file, sizeof file, "%s/misuse.gguf", folder);
    NO(q_trainer_export(NULL, file, strlen(file), Q_TYPE_AS_IS));
    NO(q_trainer_export(trainer, NULL, 3, Q_TYPE_AS_IS));
    NO(q_trainer_export(trainer, file, strlen(file), 5));
    IS(Q_ERR_IO, q_trainer_export(trainer, "/no/such/folder/x", 17, Q_TYPE_AS_IS));
    OK(q_trainer_export(trainer, file, strlen(file), Q_TYPE_AS_IS));
    OK(q_model_load(runtime, file, strlen(file), NULL, &again));
    q_model_free(again);
    remove(file);

    NO(q_train_params_init(NULL, sizeof t));
    IS(Q_ERR_ABI, q_train_params_init(&t, 1));
    NO(q_model_train(NULL, c, &t, NULL, 0));
    NO(q_model_train(model, NULL, &t, NULL, 0));
    NO(q_model_train(model, c, NULL, NULL, 0));
    IS(Q_ERR_STATE, q_model_train(model, context, &t, NULL, 0));
    IS(Q_ERR_ABI, q_model_train(model, c, &t, &result, 0));
    t.data = NULL;
    NO(q_model_train(model, c, &t, NULL, 0));
    t.data = fill;
    t.learning_rate = NAN;
    NO(q_model_train(model, c, &t, NULL, 0));
    t.learning_rate = 0.001;
    t.accumulate = 2;
    NO(q_model_train(model, c, &t, NULL, 0));
    t.accumulate = 0;
    t.schedule = 3;
    NO(q_model_train(model, c, &t, NULL, 0));
    t.schedule = Q_SCHEDULE_LINEAR;
    t.validate_every = 1;
    NO(q_model_train(model, c, &t, NULL, 0));
    t.validate_every = 0;
    t.steps = 0;
    NO(q_model_train(model, c, &t, NULL, 0));
    t.steps = 3;
    t.resume = path;
    t.resume_len = len;
    IS(Q_ERR_FORMAT, q_model_train(model, c, &t, NULL, 0));
    t.resume = NULL;
    t.folder = "/no/such/folder";
    t.folder_len = 15;
    IS(Q_ERR_IO, q_model_train(model, c, &t, NULL, 0));
    t.folder = NULL;
    for (mode = 1; mode < 9; mode++) {
        const q_error_code codes[] = {Q_ERR_STATE, Q_ERR_CANCELLED, Q_ERR_INVALID_ARGUMENT, Q_ERR_INVALID_ARGUMENT,
                                      Q_ERR_INVALID_ARGUMENT, Q_ERR_INVALID_ARGUMENT, Q_ERR_STATE,
                                      Q_ERR_INVALID_ARGUMENT};
        IS(codes[mode - 1], q_model_train(model, c, &t, &result, sizeof result));
    }
    mode = 0;
    OK(q_model_train(model, c, &t, &result, sizeof result));
    TRUE(result.step == 3 && result.end == Q_TRAIN_DONE && result.faults == 0);
    t.on_step = stop_at_two;
    OK(q_model_train(model, c, &t, &result, sizeof result));
    TRUE(result.step == 2 && result.end == Q_TRAIN_STOPPED);
    t.on_step = NULL;
    NO(q_trainer_pause(NULL));
    NO(q_trainer_resume(NULL));
    NO(q_trainer_stop(NULL));
    NO(q_trainer_stop((q_trainer *)model));
    OK(q_trainer_pause(trainer));
    OK(q_trainer_resume(trainer));
    OK(q_trainer_stop(trainer));
    OK(q_model_train(model, c, &t, &result, sizeof result));
    TRUE(result.step == 0 && result.end == Q_TRAIN_STOPPED);
    OK(q_model_train(model, c, &t, NULL, 0));
    q_trainer_free(trainer);
    q_trainer_free(NULL);
    IS(Q_ERR_STATE, q_model_train(model, c, &t, NULL, 0));
    p.trained = only_norms;
    OK(q_trainer_create(c, &p, &trainer));
    OK(q_trainer_tensors(trainer, &i));
    TRUE(i > 0 && i < n);
    q_context_free(c);
    OK(q_trainer_zero_grad(trainer));
    q_trainer_free(trainer);
}
#endif

/* A mapped file that grows under its model is noticed; one that was copied may change. */
#ifdef Q_ENABLE_QUBO
static int32_t stop_at_once(const q_qubo_progress *progress, void *user) {
    q_qubo_solver *solver = user;
    TRUE(progress->size == sizeof *progress && progress->seconds >= 0);
    /* The solver is in use by the call that calls back. */
    IS(Q_ERR_STATE, q_qubo_solver_run(solver, NULL, NULL, NULL, 0));
    return 1;
}

static int32_t no_answer(uint8_t *x, size_t n, double timeout, void *user) {
    TRUE(x != NULL && n == 3 && timeout > 0);
    (*(int *)user)++;
    return 7;
}

static void test_qubo_problem(void) {
    const uint32_t i[3] = {0, 1, 2}, j[3] = {1, 1, 0}, far[1] = {3};
    const double v[3] = {2, -3, 1.5}, bad[1] = {NAN};
    const int64_t w[3] = {2, -3, 1};
    const int32_t dense[4] = {1, -2, 0, 3};
    const uint8_t x[3] = {1, 1, 0};
    double energy = 0;
    q_qubo *qubo = NULL;
    q_qubo_info info;
    NO(q_qubo_create(3, NULL, j, v, 3, 0, 0, &qubo));
    NO(q_qubo_create(3, i, NULL, v, 3, 0, 0, &qubo));
    NO(q_qubo_create(3, i, j, NULL, 3, 0, 0, &qubo));
    NO(q_qubo_create(3, i, j, v, 3, 0, 0, NULL));
    NO(q_qubo_create(3, i, j, v, 3, 0, 2, &qubo));
    NO(q_qubo_create(3, far, i, v, 1, 0, 0, &qubo));
    NO(q_qubo_create(3, i, j, v, SIZE_MAX / 2, 0, 0, &qubo));
    IS(Q_ERR_NOT_FINITE, q_qubo_create(3, i, j, bad, 1, 0, 0, &qubo));
    IS(Q_ERR_NOT_FINITE, q_qubo_create(3, i, j, v, 3, HUGE_VAL, 0, &qubo));
    NO(q_qubo_create_int(3, i, j, NULL, 3, 0, 0, &qubo));
    NO(q_qubo_create_int(3, i, j, w, 3, 0, 0, NULL));
    NO(q_qubo_create_dense(2, NULL, Q_TYPE_I32, 0, 0, &qubo));
    NO(q_qubo_create_dense(2, dense, Q_TYPE_Q4_K, 0, 0, &qubo));
    NO(q_qubo_create_dense(2, dense, Q_TYPE_I32, 0, 9, &qubo));
    NO(q_qubo_create_dense(2, dense, Q_TYPE_I32, 0, 0, NULL));
    NO(q_qubo_create_dense(UINT32_MAX, dense, Q_TYPE_I32, 0, 0, &qubo));
    NO(q_qubo_create_view(2, NULL, Q_TYPE_I32, 0, 0, &qubo));
    NO(q_qubo_create_view(2, dense, Q_TYPE_Q4_K, 0, 0, &qubo));
    NO(q_qubo_create_view(UINT32_MAX, dense, Q_TYPE_I32, 0, 0, &qubo));
    NO(q_qubo_create_ising(3, v, NULL, j, v, 3, 0, 0, &qubo));
    NO(q_qubo_create_ising(3, v, far, i, v, 1, 0, 0, &qubo));
    NO(q_qubo_load(NULL, 3, 0, &qubo));
    NO(q_qubo_load("x", 1, 0, NULL));
    NO(q_qubo_load("x", 1, 8, &qubo));
    IS(Q_ERR_NOT_FOUND, q_qubo_load("nothing", 7, 0, &qubo));
    NO(q_qubo_load(path, strlen(path), Q_QUBO_FORMAT_GUESS, &qubo));
    IS(Q_ERR_FORMAT, q_qubo_load(path, strlen(path), Q_QUBO_FORMAT_GSET, &qubo));
    TRUE(qubo == NULL);
    q_qubo_free(NULL);

    OK(q_qubo_create_view(2, dense, Q_TYPE_I32, 1, Q_QUBO_MINIMIZE, &qubo));
    q_qubo_free(qubo);
    OK(q_qubo_create_dense(2, dense, Q_TYPE_I32, 1, Q_QUBO_MINIMIZE, &qubo));
    OK(q_qubo_energy(qubo, x, 2, &energy));
    TRUE(energy == 3);
    q_qubo_free(qubo);
    OK(q_qubo_create_ising(3, NULL, i, j, v, 1, 0, Q_QUBO_MINIMIZE, &qubo));
    OK(q_qubo_energy(qubo, x, 3, &energy));
    TRUE(energy == 2);
    q_qubo_free(qubo);
    OK(q_qubo_create(0, NULL, NULL, NULL, 0, 4, 0, &qubo));
    OK(q_qubo_energy(qubo, NULL, 0, &energy));
    TRUE(energy == 4);
    q_qubo_free(qubo);
    OK(q_qubo_create(3, i, j, v, 3, 0.5, Q_QUBO_MAXIMIZE, &qubo));
    NO(q_qubo_describe(NULL, &info, sizeof info));
    NO(q_qubo_describe(qubo, NULL, sizeof info));
    IS(Q_ERR_ABI, q_qubo_describe(qubo, &info, 3));
    OK(q_qubo_describe(qubo, &info, sizeof info));
    TRUE(info.variables == 3 && info.couplings == 2 && info.exact == 0 && info.sense == Q_QUBO_MAXIMIZE);
    NO(q_qubo_energy(qubo, NULL, 3, &energy));
    NO(q_qubo_energy(qubo, x, 3, NULL));
    NO(q_qubo_energy((q_qubo *)junk, x, 3, &energy));
    IS(Q_ERR_SHAPE, q_qubo_energy(qubo, x, 2, &energy));
    q_qubo_free(qubo);
}

static void test_qubo_solver(void) {
    const uint32_t i[3] = {0, 1, 2}, j[3] = {1, 1, 0};
    const int64_t w[3] = {2, -3, 1};
    const uint8_t states[3] = {0, 1, 2};
    const double betas[2] = {1, -1};
    int asked = 0;
    uint32_t n = 9;
    uint8_t x[3];
    size_t needed = 0;
    double energy = 0;
    uint64_t count = 0;
    q_plan plan, memory;
    q_qubo *qubo = NULL;
    q_qubo_solver *solver = NULL;
    q_qubo_params p;
    q_qubo_result result;
    OK(q_qubo_create_int(3, i, j, w, 3, 0, Q_QUBO_MINIMIZE, &qubo));
    NO(q_qubo_params_init(NULL, sizeof p));
    IS(Q_ERR_ABI, q_qubo_params_init(&p, 0));
#define BAD(code, change)                                       \
    do {                                                        \
        OK(q_qubo_params_init(&p, sizeof p));                   \
        change;                                                 \
        IS(code, q_qubo_solver_create(qubo, &p, &solver));      \
        IS(code, q_qubo_plan(qubo, &p, &plan, sizeof plan));    \
    } while (0)
    BAD(Q_ERR_ABI, p.size = 0);
    BAD(Q_ERR_ABI, p.reserved = 1);
    BAD(Q_ERR_INVALID_ARGUMENT, p.method = 12);
    BAD(Q_ERR_INVALID_ARGUMENT, p.schedule = 3);
    BAD(Q_ERR_INVALID_ARGUMENT, p.num_reads = (uint64_t)-1);
    BAD(Q_ERR_INVALID_ARGUMENT, p.num_sweeps = (uint64_t)-5);
    BAD(Q_ERR_INVALID_ARGUMENT, p.beta_first = 2; p.beta_last = 1);
    BAD(Q_ERR_INVALID_ARGUMENT, p.schedule = Q_QUBO_CUSTOM);
    BAD(Q_ERR_INVALID_ARGUMENT, p.schedule = Q_QUBO_CUSTOM; p.betas = betas; p.n_betas = 2);
    BAD(Q_ERR_INVALID_ARGUMENT, p.n_betas = 2);
    BAD(Q_ERR_INVALID_ARGUMENT, p.states = states; p.n_states = 1);
    BAD(Q_ERR_INVALID_ARGUMENT, p.n_states = 1);
    BAD(Q_ERR_INVALID_ARGUMENT, p.max_samples = 0);
    BAD(Q_ERR_INVALID_ARGUMENT, p.threads = 100000);
    BAD(Q_ERR_INVALID_ARGUMENT, p.isa = 77);
    OK(q_qubo_params_init(&p, sizeof p));
    NO(q_qubo_plan(NULL, &p, &plan, sizeof plan));
    NO(q_qubo_plan(qubo, &p, NULL, sizeof plan));
    OK(q_qubo_plan(qubo, &p, &plan, sizeof plan));
    p.budget = plan.total - 1;
    IS(Q_ERR_BUDGET, q_qubo_solver_create(qubo, &p, &solver));
    NO(q_qubo_solver_create(NULL, &p, &solver));
    NO(q_qubo_solver_create(qubo, &p, NULL));
    NO(q_qubo_solver_create((q_qubo *)model, &p, &solver));
    TRUE(solver == NULL);
    p.budget = plan.total;
    OK(q_qubo_solver_create(qubo, &p, &solver));
    NO(q_qubo_solver_memory(NULL, &memory, sizeof memory));
    NO(q_qubo_solver_memory(solver, NULL, sizeof memory));
    OK(q_qubo_solver_memory(solver, &memory, sizeof memory));
    TRUE(memory.total == plan.total);
    NO(q_qubo_solver_samples(NULL, &n));
    NO(q_qubo_solver_samples(solver, NULL));
    OK(q_qubo_solver_samples(solver, &n));
    TRUE(n == 0);
    NO(q_qubo_solver_sample(solver, 0, x, 3, NULL, NULL, NULL));
    NO(q_qubo_solver_run(NULL, NULL, NULL, &result, sizeof result));
    IS(Q_ERR_ABI, q_qubo_solver_run(solver, NULL, NULL, &result, 1));
    OK(q_qubo_solver_run(solver, NULL, NULL, NULL, 0));
    OK(q_qubo_solver_run(solver, NULL, NULL, &result, sizeof result));
    TRUE(result.best == -3 && result.method != NULL);
    NO(q_qubo_solver_sample(NULL, 0, x, 3, NULL, NULL, NULL));
    NO(q_qubo_solver_sample(solver, 1000, x, 3, NULL, NULL, NULL));
    NO(q_qubo_solver_sample(solver, 0, NULL, 3, NULL, NULL, NULL));
    IS(Q_ERR_BUFFER_TOO_SMALL, q_qubo_solver_sample(solver, 0, x, 2, &needed, NULL, NULL));
    TRUE(needed == 3);
    OK(q_qubo_solver_sample(solver, 0, x, 3, NULL, &energy, &count));
    TRUE(energy == -3 && count > 0 && x[1] == 1 && x[0] == 0);
    NO(q_qubo_solver_cancel(NULL));
    NO(q_qubo_solver_cancel((q_qubo_solver *)junk));
    /* Cancelled before it begins, it still has an answer. */
    OK(q_qubo_solver_cancel(solver));
    OK(q_qubo_solver_run(solver, NULL, NULL, &result, sizeof result));
    OK(q_qubo_solver_run(solver, stop_at_once, solver, &result, sizeof result));
    q_qubo_solver_free(solver);

    OK(q_qubo_params_init(&p, sizeof p));
    p.method = Q_QUBO_HOST;
    OK(q_qubo_solver_create(qubo, &p, &solver));
    q_qubo_free(qubo);
    NO(q_qubo_solver_register(NULL, no_answer, &asked));
    OK(q_qubo_solver_register(solver, no_answer, &asked));
    OK(q_qubo_solver_run(solver, NULL, NULL, &result, sizeof result));
    TRUE(asked == 1 && result.best == -3);
    OK(q_qubo_solver_register(solver, NULL, NULL));
    OK(q_qubo_solver_run(solver, NULL, NULL, &result, sizeof result));
    TRUE(result.best == -3);
    q_qubo_solver_free(solver);
    q_qubo_solver_free(NULL);
}
#endif

static void test_file_changed(void) {
    char name[1024];
    size_t n;
    q_model_params params;
    q_model *mapped = NULL, *copied = NULL;
    q_context *c = NULL, *d = NULL;
    uint32_t token = 5;
    char *data = slurp(path, &n);
    snprintf(name, sizeof name, "%s/changing.gguf", folder);
    FILE *f = fopen(name, "wb");
    if (!f || fwrite(data, 1, n, f) != n || fclose(f) != 0) exit(3);
    OK(q_model_params_init(&params, sizeof params));
    params.copy = 1;
    OK(q_model_load(runtime, name, strlen(name), NULL, &mapped));
    OK(q_model_load(runtime, name, strlen(name), &params, &copied));
    OK(q_context_create(mapped, NULL, &c));
    OK(q_context_create(copied, NULL, &d));
    OK(q_context_append(c, 0, &token, 1));
    f = fopen(name, "ab");
    if (!f || fwrite(data, 1, 1, f) != 1 || fclose(f) != 0) exit(3);
    IS(Q_ERR_FILE_CHANGED, q_context_append(c, 0, &token, 1));
    OK(q_context_append(d, 0, &token, 1));
    free(data);
    q_context_free(c);
    q_context_free(d);
    q_model_free(mapped);
    q_model_free(copied);
    remove(name);
}

/* Free order does not matter; a limit of the runtime holds over models and contexts. */
static void test_order(void) {
    q_runtime_params rp;
    q_context_params cp;
    q_runtime *r = NULL;
    q_model *m = NULL;
    q_context *c = NULL, *second = NULL;
    q_tokenizer *t = NULL;
    q_decoder *d = NULL;
    q_generator *g = NULL;
    q_plan plan;
    uint64_t used = 0;
    uint32_t token = 5;
    char text[64];
    size_t n;
    OK(q_context_params_init(&cp, sizeof cp));
    cp.n_ctx = 16;
    OK(q_model_plan(path, strlen(path), &cp, 2, &plan, sizeof plan));
    OK(q_runtime_params_init(&rp, sizeof rp));
    rp.threads = 2;
    rp.memory_limit = plan.total_without_mapped;
    OK(q_runtime_create(&rp, &r));
    OK(q_model_load(r, path, strlen(path), NULL, &m));
    OK(q_context_create(m, &cp, &c));
    OK(q_runtime_memory_used(r, &used));
    TRUE(used == plan.total_without_mapped);
    IS(Q_ERR_BUDGET, q_context_create(m, &cp, &second));
    q_context_free(c);
    OK(q_context_create(m, &cp, &c));
    OK(q_tokenizer_create(m, &t));
    OK(q_decoder_create(t, 0, &d));
    OK(q_generator_create(m, NULL, NULL, 0, &g));
    q_runtime_free(r);
    q_model_free(m);
    q_tokenizer_free(t);
    OK(q_context_append(c, 0, &token, 1));
    OK(q_decoder_push(d, 5, text, sizeof text, &n));
    OK(q_generator_run(g, c, &token, 1, NULL, NULL, 0));
    q_context_free(c);
    q_generator_free(g);
    q_decoder_free(d);
}

int main(int argc, char **argv) {
    q_runtime_params rp;
    q_context_params cp;
    if (argc != 4) return 2;
    path = argv[1];
    other_path = argv[2];
    folder = argv[3];
    test_errors();
    OK(q_runtime_params_init(&rp, sizeof rp));
    rp.threads = 2;
    OK(q_runtime_create(&rp, &runtime));
    OK(q_model_load(runtime, path, strlen(path), NULL, &model));
    OK(q_tokenizer_create(model, &tokenizer));
    OK(q_context_params_init(&cp, sizeof cp));
    cp.n_ctx = 8;
    OK(q_context_create(model, &cp, &context));
    if (failures) return 1;
    test_params();
    test_runtime();
    test_model();
    test_tokenizer();
    test_chat();
    test_context();
    test_sampler();
    test_generate();
    test_arena();
    test_tensor();
    test_ops();
    test_builder();
#ifdef Q_ENABLE_TRAINING
    test_loss();
    test_clip();
    test_optimizer();
    test_trainer();
    test_adapter();
#endif
#ifdef Q_ENABLE_QUBO
    test_qubo_problem();
    test_qubo_solver();
#endif
    test_file_changed();
    test_order();
    q_context_free(context);
    q_tokenizer_free(tokenizer);
    q_model_free(model);
    q_runtime_free(runtime);
    if (failures == 0) printf("all errors as they should be\n");
    return failures != 0;
}
