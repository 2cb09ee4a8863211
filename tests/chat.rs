//! Chat templates: those that are recognised, by what they must write; with the feature `jinja` others too, and those
//! that want more than they may have.

mod common;

use common::limits::check;
use common::vocab::{CONTROL, Vocab, tokenizer};
use qorus::Code;
use qorus::tokenizer::Tokenizer;
use qorus::tokenizer::chat::{Chat, Message};

/// BOS is `<s>`, EOS `</s>`; `bos` says whether encoding puts BOS.
fn tok(bos: bool) -> Tokenizer {
    let mut w = Vocab::spm().writer();
    w.put("tokenizer.ggml.add_bos_token", bos).unwrap();
    tokenizer(w).unwrap()
}

fn say<'a>(role: &'a str, content: &'a str) -> Message<'a> {
    Message { role, content }
}

const TALK: [Message; 4] = [
    Message { role: "system", content: "Be kind." },
    Message { role: "user", content: "Hi!" },
    Message { role: "assistant", content: "Hello." },
    Message { role: "user", content: "2+2?" },
];

fn render(chat: &Chat, messages: &[Message], prompt: bool) -> String {
    let mut out = vec![0; 1 << 16];
    let n = chat.render(messages, prompt, &mut out).unwrap();
    String::from_utf8(out[..n].to_vec()).unwrap()
}

#[test]
fn styles_by_name() {
    let t = tok(true);
    for (name, expected) in [
        (
            "chatml",
            "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi!<|im_end|>\n<|im_start|>assistant\n\
             Hello.<|im_end|>\n<|im_start|>user\n2+2?<|im_end|>\n<|im_start|>assistant\n",
        ),
        (
            "phi4",
            "<|im_start|>system<|im_sep|>Be kind.<|im_end|><|im_start|>user<|im_sep|>Hi!<|im_end|>\
             <|im_start|>assistant<|im_sep|>Hello.<|im_end|><|im_start|>user<|im_sep|>2+2?<|im_end|>\
             <|im_start|>assistant<|im_sep|>",
        ),
        (
            "llama3",
            "<|start_header_id|>system<|end_header_id|>\n\nBe kind.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n\
             Hi!<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nHello.<|eot_id|>\
             <|start_header_id|>user<|end_header_id|>\n\n2+2?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
        ),
        (
            "gemma",
            "<start_of_turn>user\nBe kind.\n\nHi!<end_of_turn>\n<start_of_turn>model\nHello.<end_of_turn>\n\
             <start_of_turn>user\n2+2?<end_of_turn>\n<start_of_turn>model\n",
        ),
        (
            "phi3",
            "<|system|>\nBe kind.<|end|>\n<|user|>\nHi!<|end|>\n<|assistant|>\nHello.<|end|>\n<|user|>\n2+2?<|end|>\n\
             <|assistant|>\n",
        ),
        (
            "phi4-mini",
            "<|system|>Be kind.<|end|><|user|>Hi!<|end|><|assistant|>Hello.<|end|><|user|>2+2?<|end|><|assistant|>",
        ),
        (
            "zephyr",
            "<|system|>\nBe kind.</s>\n<|user|>\nHi!</s>\n<|assistant|>\nHello.</s>\n<|user|>\n2+2?</s>\n<|assistant|>\n",
        ),
        ("llama2", "[INST] <<SYS>>\nBe kind.\n<</SYS>>\n\nHi! [/INST] Hello. </s>[INST] 2+2? [/INST]"),
        ("mistral-v0", "[INST] Be kind.\n\nHi! [/INST]Hello.</s>[INST] 2+2? [/INST]"),
        ("mistral-v1", " [INST] Be kind.\n\nHi! [/INST] Hello.</s> [INST] 2+2? [/INST]"),
        ("mistral-v3", "[INST] Be kind.\n\nHi![/INST] Hello.</s>[INST] 2+2?[/INST]"),
        ("mistral-v3-tekken", "[INST]Be kind.\n\nHi![/INST]Hello.</s>[INST]2+2?[/INST]"),
        ("mistral-v7", "[SYSTEM_PROMPT] Be kind.[/SYSTEM_PROMPT][INST] Hi![/INST] Hello.</s>[INST] 2+2?[/INST]"),
        ("mistral-v7-tekken", "[SYSTEM_PROMPT]Be kind.[/SYSTEM_PROMPT][INST]Hi![/INST]Hello.</s>[INST]2+2?[/INST]"),
    ] {
        let chat = Chat::with_source(&t, name).unwrap();
        assert!(chat.is_own());
        assert_eq!(render(&chat, &TALK, true), expected, "{name}");
        // Where encoding does not put BOS, the text has it.
        let with_bos = Chat::with_source(&tok(false), name).unwrap();
        assert_eq!(render(&with_bos, &TALK, true), format!("<s>{expected}"), "{name}");
    }
    assert_eq!(Chat::names().count(), 14);
}

/// Templates in the way that models publish them, and the style that they must be written in.
const SOURCES: [(&str, &str); 7] = [
    (
        "chatml",
        "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + \
         '\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
    ),
    (
        "llama3",
        "{% for m in messages %}{% set content = '<|start_header_id|>' + m['role'] + '<|end_header_id|>\\n\\n' + \
         m['content'] | trim + '<|eot_id|>' %}{{ content }}{% endfor %}{% if add_generation_prompt %}\
         {{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}",
    ),
    (
        "gemma",
        "{%- if messages[0].role == 'system' -%}{%- set first = messages[0].content + '\\n\\n' -%}\
         {%- set rest = messages[1:] -%}{%- else -%}{%- set first = '' -%}{%- set rest = messages -%}{%- endif -%}\
         {%- for m in rest -%}{{ '<start_of_turn>' + ('model' if m.role == 'assistant' else m.role) + '\\n' + \
         (first if loop.first else '') + m.content | trim + '<end_of_turn>\\n' }}{%- endfor -%}\
         {%- if add_generation_prompt -%}{{ '<start_of_turn>model\\n' }}{%- endif -%}",
    ),
    (
        "phi3",
        "{% for message in messages %}{% if message['role'] == 'system' %}{{'<|system|>\\n' + message['content'] + \
         '<|end|>\\n'}}{% elif message['role'] == 'user' %}{{'<|user|>\\n' + message['content'] + '<|end|>\\n'}}\
         {% else %}{{'<|assistant|>\\n' + message['content'] + '<|end|>\\n'}}{% endif %}{% endfor %}\
         {% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}",
    ),
    (
        "zephyr",
        "{% for message in messages %}\n{% if message['role'] == 'user' %}\n{{ '<|user|>\\n' + message['content'] + \
         eos_token }}\n{% elif message['role'] == 'system' %}\n{{ '<|system|>\\n' + message['content'] + eos_token }}\n\
         {% elif message['role'] == 'assistant' %}\n{{ '<|assistant|>\\n' + message['content'] + eos_token }}\n{% endif %}\n\
         {% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}",
    ),
    (
        "mistral-v7",
        "{% for m in messages %}{% if m.role == 'system' %}{{ '[SYSTEM_PROMPT] ' + m.content + '[/SYSTEM_PROMPT]' }}\
         {% elif m.role == 'user' %}{{ '[INST] ' + m.content + '[/INST]' }}{% else %}{{ ' ' + m.content + eos_token }}\
         {% endif %}{% endfor %}",
    ),
    (
        "mistral-v0",
        "{% for m in messages %}{% if m.role == 'assistant' %}{{ m.content + eos_token }}{% elif m.role == 'system' %}\
         {{ '[INST] ' + m.content + '\\n\\n' }}{% else %}{{ ('' if loop.index0 == 1 and messages[0].role == 'system' else \
         '[INST] ') + m.content + ' [/INST]' }}{% endif %}{% endfor %}",
    ),
];

#[test]
fn styles_by_source() {
    let t = tok(true);
    for (name, source) in SOURCES {
        let (named, chat) = (Chat::with_source(&t, name).unwrap(), Chat::with_source(&t, source).unwrap());
        assert_eq!(render(&chat, &TALK, true), render(&named, &TALK, true), "{name}");
        assert_eq!(render(&chat, &TALK[1..2], true), render(&named, &TALK[1..2], true), "{name}");
    }
}

#[test]
fn a_default_system_message() {
    let source = "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}\
        {{ '<|im_start|>system\nYou are Q.<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + \
        message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}\
        {{ '<|im_start|>assistant\n' }}{% endif %}";
    let t = tok(true);
    let chat = Chat::with_source(&t, source).unwrap();
    assert!(chat.is_own());
    let system = "<|im_start|>system\nYou are Q.<|im_end|>\n";
    assert_eq!(
        render(&chat, &[say("user", "Hi!")], true),
        format!("{system}<|im_start|>user\nHi!<|im_end|>\n<|im_start|>assistant\n")
    );
    assert_eq!(render(&chat, &TALK, true), render(&Chat::with_source(&t, "chatml").unwrap(), &TALK, true));
}

#[test]
fn from_the_file_to_tokens() {
    let mut v = Vocab::bpe("qwen2");
    v.token("<|im_start|>", CONTROL).token("<|im_end|>", CONTROL);
    let mut w = v.writer();
    w.put("tokenizer.chat_template", SOURCES[0].1).unwrap();
    let t = tokenizer(w).unwrap();
    let chat = Chat::new(&t).unwrap();
    let text = render(&chat, &[say("user", "a")], false);
    let ids = common::vocab::encode(&t, &text, common::vocab::SPECIAL);
    let letters: Vec<u32> = "user\na".bytes().map(|b| v.id(&common::vocab::letter(b).to_string())).collect();
    let expected = [&[v.id("<|im_start|>")], &letters[..], &[v.id("<|im_end|>"), v.id("Ċ")]].concat();
    assert_eq!(ids, expected);
}

#[test]
fn bad_calls() {
    let t = tok(true);
    check(&Chat::new(&t).err().unwrap(), Code::NotFound, "memory: ", &["no chat template"]);
    let chat = Chat::with_source(&t, "chatml").unwrap();
    let error = chat.render(&TALK[1..2], true, &mut [0; 20]).unwrap_err();
    check(&error, Code::BufferTooSmall, "", &["53 bytes", "buffer 20"]);
    check(&chat.render(&[], true, &mut [0; 20]).unwrap_err(), Code::InvalidArgument, "", &["a message"]);
    let long = "x".repeat(1 << 20);
    check(&Chat::with_source(&t, &long).err().unwrap(), Code::Format, "", &["1048576 bytes"]);
}

#[cfg(not(feature = "jinja"))]
#[test]
fn others_need_the_feature() {
    let t = tok(true);
    for source in ["{{ messages }}", "", "<|im_start|>{% macro think() %}{% endmacro %}"] {
        check(&Chat::with_source(&t, source).err().unwrap(), Code::Unsupported, "", &["\"jinja\""]);
    }
}

#[cfg(feature = "jinja")]
mod jinja {
    use std::sync::{Mutex, MutexGuard, PoisonError};

    use super::common::limits::peak_of_all;
    use super::*;

    /// What is measured is the process's, so one test runs at a time.
    fn alone() -> MutexGuard<'static, ()> {
        static ALONE: Mutex<()> = Mutex::new(());
        ALONE.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(source: &str) -> qorus::Result<String> {
        let chat = Chat::with_source(&tok(true), source)?;
        assert!(!chat.is_own());
        let mut out = vec![0; 1 << 16];
        let n = chat.render(&TALK, true, &mut out)?;
        Ok(String::from_utf8(out[..n].to_vec()).unwrap())
    }

    #[test]
    fn computes_as_python_does() {
        let _alone = alone();
        for (source, expected) in [
            ("{{ bos_token }}{{ messages[0].content }}", "Be kind."), // BOS comes by encoding
            ("{{ messages|length }} {{ messages[-1]['content'] }} {{ messages[1:3]|length }}", "4 2+2? 2"),
            (
                "{{ none }} {{ true }} {{ [1, 'a', none] }} {{ {'k': \"it's\"} }}",
                "None True [1, 'a', None] {'k': \"it's\"}",
            ),
            ("{{ {'a': [1, 'ü\"'], 'b': none}|tojson }}", "{\"a\": [1, \"ü\\\"\"], \"b\": null}"),
            ("{{ [1, {}]|tojson(indent=2) }}", "[\n  1,\n  {}\n]"),
            ("{{ 'abc'[::-1] }}{{ 'abc'[1:] }}{{ 'abc'[-2:][0] }}{{ [1,2,3][::-1] }}", "cbabcb[3, 2, 1]"),
            ("{% for c in 'ab' %}{{ loop.index0 }}{{ c }}{{ ',' if not loop.last }}{% endfor %}", "0a,1b"),
            (
                "{% set ns = namespace(n=0) %}{% for i in range(5) if i % 2 == 0 %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}",
                "6",
            ),
            ("{% macro f(x, y='!') %}{{ x }}{{ y }}{% endmacro %}{{ f('a') }}{{ f('b', y='?') }}", "a!b?"),
            ("{% set t %}x{{ 1 + 1 }}{% endset %}{{ t ~ t }}", "x2x2"),
            ("{{ ' a b '.strip().split(' ')|join('-') }}{{ 'Ab'.upper().lower()|capitalize }}", "a-bAb"),
            (
                "{{ 'a,b,c'.split(',', 1)[1] }}{{ 'abc'.startswith('ab') }}{{ 'abc'.endswith(('x', 'c')) }}",
                "b,cTrueTrue",
            ),
            ("{{ 'x' in 'axb' }}{{ 'q' not in ['q'] }}{{ 1 < 2 < 3 }}{{ 1 < 2 > 3 }}", "TrueFalseTrueFalse"),
            ("{{ messages|selectattr('role', 'equalto', 'user')|map(attribute='content')|join('|') }}", "Hi!|2+2?"),
            (
                "{{ messages[0].items()|list|length }}{{ messages[0].get('x', 'y') }}{{ messages[0].x is defined }}",
                "2yFalse",
            ),
            (
                "{{ x|default('d') }}{{ ''|default('e', true) }}{{ 7 // 2 }}{{ 7 % 4 }}{{ 2 * 3 }}{{ '-' * messages|length }}",
                "de336----",
            ),
            ("{{ '{} and {1} {n}'.format('a', 'b', n=3) }}", "a and b 3"),
            ("{% generation %}g{% endgeneration %}{%- generation -%} h {%- endgeneration %}", "gh"),
            ("a\n  {% if true %}\nb\n  {% endif %}\nc\n", "a\nb\nc"),
            (
                "{% for i in range(9) %}{% if i == 1 %}{% continue %}{% elif i == 3 %}{% break %}{% endif %}{{ i }}{% endfor %}",
                "02",
            ),
            ("{{ tools is none }}{{ documents is none }}{{ undefined_thing }}", "TrueTrue"),
        ] {
            assert_eq!(run(source).unwrap(), expected, "{source}");
        }
    }

    #[test]
    fn today() {
        let _alone = alone();
        let text = run("{{ strftime_now('%Y-%m-%d') }}").unwrap();
        assert!(text.len() == 10 && text.starts_with("20"), "{text}");
    }

    #[test]
    fn a_template_may_refuse() {
        let _alone = alone();
        let error = run("{{ raise_exception('Roles must\nalternate: ' + messages[0].role) }}").unwrap_err();
        check(&error, Code::InvalidArgument, "", &["refuses", "Roles must alternate: system"]);
        let long = run("{{ raise_exception('x' * messages|length * 1000) }}").unwrap_err();
        check(&long, Code::InvalidArgument, "", &["refuses"]);
    }

    /// An error within 100 ms and 64 MB, counted over the whole process: the template runs on a thread of its own.
    fn bounded(source: &str) -> String {
        let used = cpu_ms();
        let (result, bytes) = peak_of_all(|| run(source));
        let ms = cpu_ms() - used;
        let error = result.expect_err(source);
        let limit = if cfg!(debug_assertions) { 400.0 } else { 100.0 };
        assert!(ms < limit, "{source}: {ms} ms");
        assert!(bytes < 64 << 20, "{source}: {bytes} bytes");
        check(&error, Code::Unsupported, "the chat template ", &[]);
        error.to_string()
    }

    fn cpu_ms() -> f64 {
        let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the clock exists and the pointer is to a timespec.
        unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut t) };
        t.tv_sec as f64 * 1e3 + t.tv_nsec as f64 / 1e6
    }

    #[test]
    fn hostile_templates_end_in_errors() {
        let _alone = alone();
        let steps = ["for i in range(9999)"; 5].map(|f| format!("{{% {f} %}}")).concat() + &"{% endfor %}".repeat(5);
        assert!(bounded(&steps).contains("steps"));
        assert!(bounded("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}").contains("does not run"));
        assert!(bounded("{% for i in [1] recursive %}{{ loop([1]) }}{% endfor %}").contains("does not run"));

        let start = "{% set s = 'aaaaaaaaaaaaaaaa' %}";
        let twice = |step: &str| format!("{start}{}{{{{ s }}}}", step.repeat(45));
        for step in [
            "{% set s = s ~ s %}",
            "{% set s = s + s %}",
            "{% set s = s * messages|length %}",
            "{% set s = [s, s]|join %}",
            "{% set s %}{{ s }}{{ s }}{% endset %}",
            "{% set s = s|replace('a', s) %}",
            "{% set s = s.replace('a', s) %}",
            "{% set s = s.join(s) %}",
            "{% set s = '{0}{0}'.format(s) %}",
            "{% set s = [s, s] %}",
            "{% set s = {'a': s, 'b': s} %}",
            "{% set s = [s, s]|string %}",
            "{% set s = [s, s]|tojson %}",
            "{% set s = s|list + s|list %}",
        ] {
            assert!(bounded(&twice(step)).contains("memory"), "{step}");
        }
        let looped =
            "{% set ns = namespace(s='x') %}{% for i in range(9999) %}{% set ns.s = ns.s + ns.s %}{% endfor %}";
        assert!(bounded(looped).contains("memory"));
        let by_macro = "{% macro f(s, n) %}{% if n %}{{ f(s ~ s, n - 1) }}{% endif %}{% endmacro %}{{ f('x', 45) }}";
        assert!(bounded(by_macro).contains("memory"));
        let raw = format!("{{% for i in range(9999) %}}{}{{% endfor %}}", "x".repeat(100_000));
        assert!(bounded(&raw).contains("memory"));
        let output = "{% set s = 'x' * messages|length * 99999 %}{% for i in range(9999) %}{{ s }}{% endfor %}";
        assert!(bounded(output).contains("memory"));
        // Comparing what is large again and again.
        let compared = "{% set a = range(9999)|list %}{% set b = range(9999)|list %}\
                        {% for i in range(9999) %}{% if a == b %}{% endif %}{% endfor %}";
        assert!(bounded(compared).contains("memory"));
        // Deep values, values that hold themselves.
        let deep = "{% set ns = namespace(l=[]) %}{% for i in range(9999) %}{% set ns.l = [ns.l] %}{% endfor %}";
        assert!(bounded(deep).contains("deep"));
        let selfish = "{% set ns = namespace() %}{% set ns.a = ns %}{{ ns }}{{ ns.a }}";
        assert!(bounded(selfish).contains("namespace"));
        assert!(bounded("{% set ns = namespace() %}{% set ns.a = [ns] %}{{ ns.a }}").contains("namespace"));
        assert!(bounded("{{ range(99999999) }}").contains("range"));
        assert!(bounded("{{ 'a' * 99999999 }}").contains("multiplies"));
        assert!(bounded("{{ ('a' ~ 'b') * 99999999 }}").contains("multiplies"));
    }

    #[test]
    fn hostile_sources_end_in_errors() {
        let _alone = alone();
        for source in [
            format!("{{{{ {}1 }}}}", "not ".repeat(50_000)),
            format!("{{{{ {}1 }}}}", "-".repeat(50_000)),
            format!("{{{{ {}1{} }}}}", "(".repeat(50_000), ")".repeat(50_000)),
            format!("{{{{ {}1{} }}}}", "[".repeat(50_000), "]".repeat(50_000)),
            format!("{{{{ a{} }}}}", " + a".repeat(50_000)),
            format!("{{{{ a{} }}}}", ".a".repeat(50_000)),
            format!("{{{{ a{} }}}}", "|trim".repeat(40_000)),
            format!("{{{{ 'a'{} }}}}", " ~ 'a'".repeat(30_000)),
            format!("{}{}", "{% if a %}".repeat(20_000), "{% endif %}".repeat(0)),
            format!("{{% if a %}}{}{{% endif %}}", "{% elif a %}".repeat(20_000)),
            "{{".into(),
            "{% for x in %}".into(),
            "{% bogus %}".into(),
            "{{ 'x".into(),
        ] {
            bounded(&source);
        }
    }

    #[test]
    fn there_is_nothing_outside() {
        let _alone = alone();
        for source in [
            "{% include '/etc/passwd' %}",
            "{% extends 'x' %}",
            "{% import 'x' as y %}",
            "{% block a %}{% endblock %}",
            "{{ ''.__class__.__mro__ }}{{ ''.__class__() }}",
            "{{ open('/etc/passwd') }}",
            "{{ messages.__init__.__globals__['os'].system('x') }}",
            "{{ self.__init__() }}",
            "{{ cycler }}{{ joiner() }}",
        ] {
            bounded(source);
        }
    }

    #[test]
    fn long_conversations_have_room() {
        let _alone = alone();
        let text = "word ".repeat(20_000);
        let talk: Vec<Message> = (0..200).map(|i| say(["user", "assistant"][i % 2], &text)).collect();
        let source = "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + m.content|length %}\
                      {{ '[' + m.role + ']\\n' + m.content|trim + '[end]\\n' }}{% endfor %}{{ ns.n }}";
        let chat = Chat::with_source(&tok(true), source).unwrap();
        let mut out = vec![0; 1 << 25];
        let n = chat.render(&talk, true, &mut out).unwrap();
        assert!(n > 19_000_000 && out[..n].ends_with(b"20000000"));
    }
}
