//! Published vocabularies with inputs and the ids they must give (`../shared/vocab`, or QORUS_SHARED): the whole way from
//! file to ids and back. Without the files nothing is tested, and that is said.

use std::io::Write as _; // not held back by the test harness, as the print macros are
use std::path::{Path, PathBuf};
use std::sync::Arc;

use qorus::gguf::Gguf;
use qorus::tokenizer::{Encode, Tokenizer};

fn shared() -> PathBuf {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    std::env::var_os("QORUS_SHARED").map_or_else(beside, PathBuf::from).join("vocab")
}

fn check(name: &str) {
    let path = shared().join(format!("ggml-vocab-{name}.gguf"));
    let beside = |ext: &str| std::fs::read_to_string(format!("{}.{ext}", path.display()));
    let (Ok(inputs), Ok(outputs)) = (beside("inp"), beside("out")) else {
        drop(writeln!(std::io::stderr(), "SKIPPED: {name} needs {} (set QORUS_SHARED)", path.display()));
        return;
    };
    let gguf = Arc::new(Gguf::open(&path).unwrap());
    let tokenizer = Tokenizer::new(gguf.clone()).unwrap();
    assert_eq!(tokenizer.reserved(), Tokenizer::plan(&gguf).unwrap());

    let inputs: Vec<&str> = inputs.split("\n__ggml_vocab_test__\n").collect();
    let outputs: Vec<Vec<u32>> =
        outputs.lines().map(|l| l.split_whitespace().map(|id| id.parse().unwrap()).collect()).collect();
    assert!(outputs.len() > 30, "{name}: {} outputs", outputs.len());
    // In some files a separator stands behind the last input too.
    assert!(
        inputs[outputs.len()..].iter().all(|i| i.is_empty()),
        "{name}: {} inputs, {} outputs",
        inputs.len(),
        outputs.len()
    );
    let mut wrong = 0;
    for (input, expected) in inputs.iter().zip(&outputs) {
        let mut ids = vec![0; input.len() + 4];
        let n = tokenizer.encode(input, Encode::default(), &mut ids).unwrap();
        ids.truncate(n);
        if ids != *expected {
            eprintln!("{name}: {input:?}\n  expected {expected:?}\n  found    {ids:?}");
            wrong += 1;
        }
        let mut text = vec![0; 4 * input.len() + 16];
        let n = tokenizer.decode(&ids, false, &mut text).unwrap();
        assert_eq!(str::from_utf8(&text[..n]), Ok(*input), "{name}: the way back of {ids:?}");
    }
    assert_eq!(wrong, 0, "{name}: of {} inputs", inputs.len());
}

macro_rules! vectors {
    ($($test:ident: $name:literal),* $(,)?) => {$(
        #[test]
        fn $test() {
            check($name);
        }
    )*};
}

vectors!(
    llama_spm: "llama-spm",
    phi_3: "phi-3",
    llama_bpe: "llama-bpe",
    qwen2: "qwen2",
    gpt_2: "gpt-2",
    gemma_4: "gemma-4",
);
