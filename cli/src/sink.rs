//! Takes what is generated: to stdout as it comes, into memory, or both.

use crate::allocations;
use crate::interrupt::{Also, Interrupt};
use qorus::engine::{Hooks, Piece};
use std::io::{self, Write};

/// What was generated, and what went wrong meanwhile.
pub struct Sink<'a> {
    /// Print the text as it comes.
    pub print: bool,
    /// Keep text, tokens and log-probabilities.
    pub keep: bool,
    interrupt: &'a Interrupt,
    /// Cancels the prompt; a single token is not worth cancelling.
    cancel: Option<Also>,
    /// The text.
    pub text: String,
    /// Its tokens.
    pub tokens: Vec<u32>,
    /// Their log-probabilities.
    pub log_probs: Vec<f32>,
    /// Stdout refused.
    pub error: Option<io::Error>,
    /// Allocations of the sink, which are not the library's.
    pub allocations: u64,
}

impl<'a> Sink<'a> {
    /// Ctrl-C cancels by `cancel` until the first piece comes, and ends the generation after that.
    pub fn new(interrupt: &'a Interrupt, cancel: Also) -> Sink<'a> {
        Sink {
            print: true,
            keep: true,
            interrupt,
            cancel: Some(cancel),
            text: String::new(),
            tokens: Vec::new(),
            log_probs: Vec::new(),
            error: None,
            allocations: 0,
        }
    }

    fn put(&mut self, text: &str) {
        if self.keep {
            self.text.push_str(text);
        }
        if self.print && self.error.is_none() {
            let mut out = io::stdout().lock();
            self.error = out.write_all(text.as_bytes()).and_then(|()| out.flush()).err();
        }
    }
}

impl Hooks for Sink<'_> {
    fn piece(&mut self, piece: Piece<'_>) -> bool {
        let before = allocations::count();
        self.cancel = None;
        self.put(piece.text);
        if self.keep {
            self.tokens.push(piece.token);
            self.log_probs.push(piece.log_prob());
        }
        self.allocations += allocations::count() - before;
        self.error.is_none() && !self.interrupt.happened()
    }

    fn rest(&mut self, text: &str) {
        let before = allocations::count();
        self.put(text);
        self.allocations += allocations::count() - before;
    }
}
