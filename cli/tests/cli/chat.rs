//! `qorus chat`, reading its messages from stdin as scripts have it.

use crate::{Done, model, qorus, qorus_reads};

fn chat(more: &[&str], lines: &str) -> Done {
    qorus_reads(&[&["chat", "--template", "chatml", "--temp", "0", "-n", "12"], more].concat(), lines.as_bytes())
}

#[test]
fn each_line_has_its_answer_and_stdout_holds_nothing_else() {
    let one = chat(&[], "Tell me of Tim.\n").text();
    assert!(one.len() > 10 && one.ends_with('\n'), "{one:?}");
    let two = chat(&[], "Tell me of Tim.\n\nAnd then?\n/exit\nnever read\n").text();
    assert!(two.starts_with(&one) && two.len() > one.len(), "{two:?}");
    assert_eq!(chat(&[], "/exit\n").text(), "");
    assert_eq!(chat(&[], "").text(), "");
}

#[test]
fn what_the_context_holds_does_not_change_an_answer() {
    let one = chat(&[], "Tell me of Tim.\n").text();
    let again = chat(&[], "Something else.\n/clear\nTell me of Tim.\n").text();
    assert!(again.ends_with(&one), "{again:?}, {one:?}");
    assert_ne!(chat(&["--system", "You are a bear."], "Tell me of Tim.\n").text(), one);
}

#[test]
fn a_full_context_forgets_the_oldest_messages() {
    let done = chat(&["--ctx", "120"], &"Tell me of Tim.\n".repeat(6));
    assert_eq!(done.code, 0);
    assert!(done.err.contains("forgotten"), "{}", done.err);
    let long = chat(&["--ctx", "40"], &"Tim ".repeat(60));
    long.refused(1, &["40", "--ctx"]);
}

#[test]
fn a_model_without_a_template_says_what_to_do() {
    qorus(&["chat", "-m", &model()]).refused(1, &["chat template", "qorus run", "--template", "chatml"]);
    qorus(&["chat", "--template", "{% no"]).refused(1, &["template"]);
    qorus_reads(&["chat", "--template", "chatml"], b"\xff\n").refused(1, &["stdin", "UTF-8"]);
}
