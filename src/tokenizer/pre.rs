//! The pre-tokenizers by their names in `tokenizer.ggml.pre`, and what else a name decides.

use super::split::{self, Contractions, Pass, Word, Words};
use super::unicode::{is_letter, is_number, is_punctuation};

/// What a pre-tokenizer's name stands for.
pub(super) struct Pre {
    names: &'static [&'static str],
    pub passes: &'static [Pass],
    /// A word that is a token is that token, whatever its merges say.
    pub whole_words: bool,
    /// Whether BOS goes first where the file does not say.
    pub bos: bool,
    /// Spaces are U+2581, characters are themselves and bytes without a token are `<0xXX>`; else GPT-2's alphabet.
    pub raw: bool,
}

/// The pre-tokenizer of that name.
pub(super) fn find(name: &[u8]) -> Option<&'static Pre> {
    ALL.iter().find(|p| p.names.iter().any(|n| n.as_bytes() == name))
}

/// What a file without the key gets. Such files are older than the key, and were split like this when they were made:
/// better than an error, if not always what the model was trained with.
pub(super) const MISSING: &str = "default";

const PLAIN: Pre = Pre { names: &[], passes: &[], whole_words: false, bos: false, raw: false };

const LLAMA3: Words = Words { contractions: Contractions::First, word: Word::Letters, digits: 3, slash: false };
const QWEN2: Words = Words { digits: 1, ..LLAMA3 };

const ALL: [Pre; 16] = [
    Pre {
        names: &[MISSING],
        passes: &[Pass::Run(split::default_punctuation), Pass::Gpt2, Pass::Run(is_number), Pass::Three],
        ..PLAIN
    },
    Pre {
        names: &[
            "llama-bpe",
            "llama3",
            "llama-v3",
            "falcon3",
            "falcon-h1",
            "pixtral",
            "midm-2.0",
            "lfm2",
            "jina-v5-nano",
        ],
        passes: &[Pass::Words(LLAMA3)],
        whole_words: true,
        bos: true,
        ..PLAIN
    },
    Pre { names: &["dbrx", "smaug-bpe", "chatglm-bpe"], passes: &[Pass::Words(LLAMA3)], ..PLAIN },
    Pre { names: &["glm4", "glm5"], passes: &[Pass::Words(LLAMA3)], whole_words: true, ..PLAIN },
    Pre {
        names: &[
            "qwen2",
            "deepseek-r1-qwen",
            "stablelm2",
            "hunyuan",
            "solar-open",
            "megrez",
            "grok-2",
            "kormo",
            "f2llmv2",
        ],
        passes: &[Pass::Words(QWEN2)],
        ..PLAIN
    },
    Pre { names: &["qwen35"], passes: &[Pass::Words(Words { word: Word::Marks, ..QWEN2 })], ..PLAIN },
    Pre {
        names: &["gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"],
        passes: &[Pass::Words(Words { contractions: Contractions::Last, word: Word::Cased, digits: 3, slash: true })],
        ..PLAIN
    },
    Pre {
        names: &["tekken"],
        passes: &[Pass::Words(Words { contractions: Contractions::None, word: Word::Cased, digits: 1, slash: true })],
        whole_words: true,
        bos: true,
        ..PLAIN
    },
    Pre {
        names: &[
            "gpt-2",
            "phi-2",
            "mpt",
            "olmo",
            "jais",
            "trillion",
            "granite-docling",
            "exaone4",
            "gigachat",
            "a.x-4.0",
            "mellum",
            "modern-bert",
            "jina-es",
            "jina-de",
            "jina-v2-es",
            "jina-v2-de",
            "jina-v1-en",
            "jina-v2-code",
            "roberta-bpe",
        ],
        passes: &[Pass::Gpt2],
        ..PLAIN
    },
    Pre {
        names: &["starcoder", "refact", "command-r", "smollm", "codeshell", "exaone", "minerva-7b", "mellum2"],
        passes: &[Pass::Chunks(is_number, 1), Pass::Gpt2],
        ..PLAIN
    },
    Pre { names: &["falcon"], passes: &[Pass::Run(split::falcon_punctuation), Pass::Gpt2, Pass::Three], ..PLAIN },
    Pre {
        names: &["deepseek-llm"],
        passes: &[
            Pass::Chunks(split::line_break, 1),
            Pass::Spaced(split::cased_letter),
            Pass::Spaced(split::deepseek_punctuation),
            Pass::Trailing,
            Pass::Run(split::deepseek_asian),
            Pass::Run(is_number),
        ],
        ..PLAIN
    },
    Pre {
        names: &["deepseek-coder"],
        passes: &[
            Pass::Chunks(split::line_break, 1),
            Pass::Spaced(is_letter),
            Pass::Spaced(is_punctuation),
            Pass::Run(split::deepseek_asian),
            Pass::Chunks(is_number, 1),
        ],
        ..PLAIN
    },
    Pre {
        names: &["deepseek-v3", "hunyuan-dense", "joyai-llm"],
        passes: &[Pass::Chunks(is_number, 3), Pass::Run(split::han_kana), Pass::DeepSeek3],
        ..PLAIN
    },
    Pre {
        names: &["gemma4", "gemma-4"],
        passes: &[Pass::Lines],
        // As published files need it: some say no, and the model then fails.
        bos: true,
        raw: true,
        ..PLAIN
    },
    Pre { names: &["bailingmoe", "bailingmoe2", "llada-moe"], passes: &[Pass::Words(QWEN2)], ..PLAIN },
];
