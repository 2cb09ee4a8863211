// Generates text from C++17: handles that free themselves, errors as exceptions, text through a lambda.
//
//     generate MODEL.gguf PROMPT [TOKENS]
#include "qorus.h"

#include <functional>
#include <iostream>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace qorus {

struct Error : std::runtime_error {
    q_error_code code;

    explicit Error(q_error_code code) : std::runtime_error(message(code)), code(code) {}

    static std::string message(q_error_code code) {
        std::size_t needed = 0;
        q_last_error(nullptr, 0, &needed);
        std::string text(needed, '\0');
        q_last_error(text.data(), text.size(), nullptr);
        text.resize(needed - 1);  // without the NUL
        return std::string(q_error_name(code)) + ": " + text;
    }
};

inline void check(q_error_code code) {
    if (code != Q_OK) throw Error(code);
}

// A handle frees itself. The order does not matter: contexts keep their model alive, models their runtime.
template <auto Free>
struct Deleter {
    template <class T>
    void operator()(T *handle) const noexcept {
        Free(handle);
    }
};

using Runtime = std::unique_ptr<q_runtime, Deleter<q_runtime_free>>;
using Model = std::unique_ptr<q_model, Deleter<q_model_free>>;
using Tokenizer = std::unique_ptr<q_tokenizer, Deleter<q_tokenizer_free>>;
using Context = std::unique_ptr<q_context, Deleter<q_context_free>>;
using Generator = std::unique_ptr<q_generator, Deleter<q_generator_free>>;

// Makes a handle by a q_*_create or q_*_load, whose last argument receives it.
template <class Handle, class Make, class... Args>
Handle make(Make create, Args... args) {
    typename Handle::pointer out = nullptr;
    check(create(args..., &out));
    return Handle(out);
}

template <class Params>
Params defaults(q_error_code (*init)(Params *, std::size_t)) {
    Params params;
    check(init(&params, sizeof params));
    return params;
}

inline std::vector<std::uint32_t> encode(const Tokenizer &tokenizer, std::string_view text) {
    std::vector<std::uint32_t> tokens(text.size() + 8);
    std::size_t n = 0;
    auto fill = [&] {
        return q_tokenizer_encode(tokenizer.get(), text.data(), text.size(), Q_ENCODE_BOS, tokens.data(), tokens.size(), &n);
    };
    if (fill() == Q_ERR_BUFFER_TOO_SMALL) {
        tokens.resize(n);
        check(fill());
    }
    tokens.resize(n);
    return tokens;
}

// Hands each piece of text to `sink` until it says false. An exception must not pass through C: it is kept for later.
inline q_generate_result generate(const Generator &generator, const Context &context,
                                  const std::vector<std::uint32_t> &prompt, std::uint32_t max_tokens,
                                  const std::function<bool(std::string_view)> &sink) {
    struct State {
        const std::function<bool(std::string_view)> &sink;
        std::exception_ptr thrown;
    } state{sink, nullptr};
    auto params = defaults(q_generate_params_init);
    params.max_tokens = max_tokens;
    params.user = &state;
    params.on_piece = [](const q_piece *piece, void *user) noexcept -> std::int32_t {
        auto &state = *static_cast<State *>(user);
        try {
            return state.sink(std::string_view(piece->text, piece->text_len)) ? 0 : 1;
        } catch (...) {
            state.thrown = std::current_exception();
            return 1;
        }
    };
    q_generate_result result{};
    check(q_generator_run(generator.get(), context.get(), prompt.data(), prompt.size(), &params, &result, sizeof result));
    if (state.thrown) std::rethrow_exception(state.thrown);
    return result;
}

}  // namespace qorus

int main(int argc, char **argv) try {
    if (argc < 3) {
        std::cerr << "usage: " << argv[0] << " MODEL.gguf PROMPT [TOKENS]\n";
        return 2;
    }
    const std::string_view path = argv[1];
    const auto max_tokens = static_cast<std::uint32_t>(argc > 3 ? std::stoul(argv[3]) : 128);

    auto runtime = qorus::make<qorus::Runtime>(q_runtime_create, nullptr);
    auto model = qorus::make<qorus::Model>(q_model_load, runtime.get(), path.data(), path.size(), nullptr);
    auto tokenizer = qorus::make<qorus::Tokenizer>(q_tokenizer_create, model.get());
    const auto prompt = qorus::encode(tokenizer, argv[2]);

    auto params = qorus::defaults(q_context_params_init);
    params.n_ctx = static_cast<std::uint32_t>(prompt.size()) + max_tokens;
    auto context = qorus::make<qorus::Context>(q_context_create, model.get(), &params);
    auto greedy = qorus::defaults(q_sampler_params_init);
    greedy.temperature = 0;
    auto generator = qorus::make<qorus::Generator>(q_generator_create, model.get(), &greedy, nullptr, 0);

    qorus::generate(generator, context, prompt, max_tokens, [](std::string_view text) {
        std::cout << text << std::flush;
        return true;
    });
    std::cout << '\n';
    return 0;
} catch (const std::exception &e) {
    std::cerr << e.what() << '\n';
    return 1;
}
