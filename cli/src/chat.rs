//! `qorus chat`: a conversation through the model's template, line by line.
//!
//! The whole conversation is rendered for each turn, and only the tokens behind what the context already holds are computed:
//! usually the new turn alone, but templates may also change what was said before.

use crate::args::{self, Ahead, Bf16, Kv, Model, Sampling, Threads};
use crate::failure::{Failure, Result, run};
use crate::interrupt::{Also, Interrupt};
use crate::lora::Lora;
use crate::run::prompt;
use crate::sink::Sink;
use qorus::Code;
use qorus::engine::{self, Context, ContextParams, Generate, Outcome};
use qorus::tokenizer::Tokenizer;
use qorus::tokenizer::chat::{Chat, Message};
use std::io::{self, BufRead, IsTerminal, Write};
use std::sync::Arc;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: Model,
    #[command(flatten)]
    sampling: Sampling,
    #[command(flatten)]
    lora: Lora,
    #[command(flatten)]
    threads: Threads,
    #[command(flatten)]
    bf16: Bf16,
    /// Tokens of an answer at most
    #[arg(short, value_name = "N", default_value_t = 1024, value_parser = args::count())]
    n: usize,
    /// Positions of the context: the whole conversation [default: as many as the model was trained for, at most 4096]
    #[arg(long, value_name = "N", value_parser = args::count())]
    ctx: Option<usize>,
    #[command(flatten)]
    kv: Kv,
    #[command(flatten)]
    ahead: Ahead,
    /// What the model is told before the conversation
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// Another template than the file's: a name such as chatml, or a Jinja source
    #[arg(long, value_name = "TEMPLATE")]
    template: Option<String>,
}

/// A message, and who it is from.
struct Said {
    role: &'static str,
    content: String,
}

/// A conversation and the context that holds it.
struct Talk {
    model: Arc<engine::Model>,
    chat: Chat,
    ctx: Context,
    generate: Generate,
    /// Guesses what comes.
    draft: Option<Context>,
    /// Tokens of an answer at most.
    n: usize,
    said: Vec<Said>,
}

pub fn main(args: Args) -> Result {
    let params = args.sampling.params()?;
    let runtime = args.threads.runtime(args.bf16.products())?;
    let model = engine::Model::new(&runtime, args.model.open()?)?;
    let chat = template(model.tokenizer()?, args.template.as_deref())?;
    let (n_ctx, n_outputs) = (args.ctx.unwrap_or(0), args.ahead.outputs());
    let params_ctx = ContextParams { n_ctx, n_outputs, kv: args.kv.ty, ..ContextParams::default() };
    let adapters = args.lora.load(&model)?;
    let mut ctx = Context::new(&model, &adapters.room(params_ctx))?;
    adapters.attach(&mut ctx)?;
    let mut generate = Generate::new(&model, params, &[])?;
    generate.lookup = args.ahead.lookup;
    let draft = args.ahead.draft(&ctx)?;
    let mut talk = Talk { model, chat, ctx, generate, draft, n: args.n, said: Vec::new() };
    talk.clear(args.system.as_deref());
    let interrupt = Interrupt::new()?;
    let terminal = io::stdin().is_terminal();
    if terminal {
        tell("Ctrl-C ends an answer, /clear begins anew, /exit ends.");
    }
    let mut line = String::new();
    loop {
        if terminal {
            let _ = write!(io::stderr(), "> ");
        }
        // While it waits for a line, one Ctrl-C ends the program.
        interrupt.set(true);
        line.clear();
        match io::stdin().lock().read_line(&mut line) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(e) => return run(format_args!("stdin: cannot be read: {e}")),
        }
        interrupt.set(false);
        match line.trim() {
            "" => {}
            "/exit" => return Ok(()),
            "/clear" => talk.clear(args.system.as_deref()),
            text => match talk.turn(text, &interrupt) {
                // Someone who talks may go on with something else; a script shall not.
                Err(Failure::Run(message)) if terminal => tell(&message),
                other => other?,
            },
        }
    }
}

/// The template of the file, or the one that was asked for.
fn template(tokenizer: &Tokenizer, asked: Option<&str>) -> Result<Chat> {
    match asked {
        Some(source) => Ok(Chat::with_source(tokenizer, source)?),
        None => match Chat::new(tokenizer) {
            Err(e) if e.code() == Code::NotFound => {
                let names = Chat::names().collect::<Vec<_>>().join(", ");
                run(format_args!("{e}: use `qorus run`, or name a template with --template ({names})"))
            }
            other => Ok(other?),
        },
    }
}

fn tell(message: &str) {
    let _ = writeln!(io::stderr(), "{message}");
}

impl Talk {
    /// Forgets everything but the system's message.
    fn clear(&mut self, system: Option<&str>) {
        self.said = system.map(|text| Said { role: "system", content: text.to_owned() }).into_iter().collect();
    }

    /// One message and its answer. On a failure the conversation is as before.
    fn turn(&mut self, text: &str, interrupt: &Interrupt) -> Result {
        self.said.push(Said { role: "user", content: text.to_owned() });
        let answer = self.answer(interrupt);
        match answer {
            Ok(Some(content)) => self.said.push(Said { role: "assistant", content }),
            Ok(None) => drop(self.said.pop()),
            Err(e) => {
                self.said.pop();
                return Err(e);
            }
        }
        Ok(())
    }

    /// The answer to what was said last; None when it was interrupted before it began.
    fn answer(&mut self, interrupt: &Interrupt) -> Result<Option<String>> {
        let ids = self.fit()?;
        let mut sink = Sink::new(interrupt, Also::set(self.ctx.cancel_flag()));
        let result = self.generate.answer(&mut self.ctx, self.draft.as_mut(), 0, &ids, self.n, &mut sink);
        if let Some(e) = sink.error {
            return Err(e.into());
        }
        let end = match result {
            Err(e) if e.code() == Code::Cancelled => return Ok(None),
            other => other?.0,
        };
        writeln!(io::stdout())?;
        if end == Outcome::ContextFull {
            tell("The context is full: the answer was cut. --ctx makes it longer.");
        }
        Ok(Some(sink.text))
    }

    /// The conversation's tokens up to where the answer begins. When they fill more than three quarters of the context the
    /// oldest messages are forgotten, a question with its answer at a time.
    fn fit(&mut self) -> Result<Vec<u32>> {
        let n_ctx = self.ctx.params().n_ctx;
        let first = self.said.iter().take_while(|said| said.role == "system").count();
        let mut forgotten = 0;
        loop {
            let ids = self.tokens()?;
            let last = self.said.len() <= first + 2;
            if ids.len() <= n_ctx - n_ctx / 4 || last && ids.len() < n_ctx {
                if forgotten > 0 {
                    tell(&format!("The context is full: the oldest {forgotten} messages are forgotten."));
                }
                return Ok(ids);
            }
            if last {
                return run(format_args!(
                    "the message has {} tokens, the context {n_ctx}: shorten it or give a greater --ctx",
                    ids.len()
                ));
            }
            self.said.drain(first..first + 2);
            forgotten += 2;
        }
    }

    fn tokens(&self) -> Result<Vec<u32>> {
        let messages: Vec<Message> = self.said.iter().map(|s| Message { role: s.role, content: &s.content }).collect();
        let mut text = vec![0; 1 << 12];
        let len = loop {
            match self.chat.render(&messages, true, &mut text) {
                Err(e) if e.code() == Code::BufferTooSmall => text.resize(2 * text.len(), 0),
                other => break other?,
            }
        };
        prompt(self.model.tokenizer()?, &String::from_utf8_lossy(&text[..len]), true)
    }
}
