//! `qorus eval`, against perplexity computed here from logits.

use crate::{Done, file, model, qorus};
use qorus::engine::{Context, ContextParams, Model, Runtime, Token};
use qorus::tokenizer::Encode;
use serde_json::Value;
use std::path::Path;

const TEXT: &str =
    "It was a bright cold day in April, and the clocks were striking thirteen. Winston, his chin in his breast.";

/// The mean over the predictions that count, each chunk computed alone and in one batch.
fn expected(text: &str, n_ctx: usize, first: usize) -> (f64, usize) {
    let model = Model::open(&Runtime::new(1, None).unwrap(), Path::new(&model())).unwrap();
    let mut ids = vec![0; text.len() + 3];
    let n = model.tokenizer().unwrap().encode(text, Encode { bos: true, special: false }, &mut ids).unwrap();
    ids.truncate(n);
    let (mut sum, mut count) = (0.0, 0);
    for chunk in ids.chunks_exact_mut(n_ctx.min(n)) {
        chunk[0] = 1;
        let n = chunk.len();
        let params = ContextParams { n_ctx: n, n_batch: n, n_outputs: n, ..ContextParams::default() };
        let mut ctx = Context::new(&model, &params).unwrap();
        let batch: Vec<Token> =
            chunk.iter().zip(0..).map(|(&id, pos)| Token { id, seq: 0, pos, logits: true }).collect();
        ctx.decode(&batch).unwrap();
        for i in first..n - 1 {
            let row = ctx.logits(i).unwrap();
            let total: f64 = row.iter().map(|&l| f64::from(l).exp()).sum();
            sum += total.ln() - f64::from(row[chunk[i + 1] as usize]);
            count += 1;
        }
    }
    (sum / count as f64, count)
}

#[track_caller]
fn agrees(v: &Value, (nll, count): (f64, usize)) {
    assert_eq!(v["tokens"].as_u64().unwrap() as usize, count);
    assert!((v["nll_per_token"].as_f64().unwrap() - nll).abs() < 1e-5, "{v}, expected {nll}");
    assert!((v["perplexity"].as_f64().unwrap() / nll.exp() - 1.0).abs() < 1e-5, "{v}, expected {nll}");
}

fn eval(text: &str, ctx: &str) -> Done {
    let path = file(&format!("eval-{ctx}.txt"), text.as_bytes());
    qorus(&["eval", "-m", &model(), "-f", &path, "--ctx", ctx, "--json"])
}

#[test]
fn the_second_half_of_each_whole_chunk_is_counted() {
    agrees(&eval(TEXT, "32").json(), expected(TEXT, 32, 16));
    agrees(&eval(TEXT, "31").json(), expected(TEXT, 31, 15));
}

#[test]
fn chunks_longer_than_one_slice_of_logits_are_counted_whole() {
    let text = TEXT.repeat(4);
    agrees(&eval(&text, "200").json(), expected(&text, 200, 100));
}

#[test]
fn a_short_text_is_counted_whole_and_that_is_said() {
    let done = eval(TEXT, "512");
    assert_eq!(done.code, 0);
    assert!(done.err.contains("fewer than one chunk of 512"), "{}", done.err);
    agrees(&serde_json::from_slice(&done.out).unwrap(), expected(TEXT, 512, 0));
}

#[test]
fn too_little_text_is_refused() {
    eval("", "512").refused(1, &["longer text"]);
}
