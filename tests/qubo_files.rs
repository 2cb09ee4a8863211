//! Files of problems: each form read to the values its authors mean, written and read again, and cut, lying and random ones told by one
//! clear error within 100 ms and 64 MB.

mod common;

use common::dir::{Dir, shared};
use common::limits::{check, within_limits};
use proptest::prelude::*;
use qorus::Code;
use qorus::qubo::format::{Format, Instance, ReadParams, Vartype, guess, parse, read, save, write};
use qorus::qubo::{Problem, Sense};

const GSET: &str = "3 3\n1 2 1\n2 3 -2\n1 3 5\n";
const ORLIB: &str = "3 4\n1 1 7\n1 2 -3\n2 2 4\n2 3 5\n";
const QBSOLV: &str = "c a comment\np qubo 0 4 3 2\n0 0 3.4\n1 1 4.5\n3 3 -1\nc another\n0 1 2.2\n1 3 -6\n";
const COO: &str = "# vartype=SPIN\n0 0 -1\n0 7 1.5\n7 9 -4.5\n";
const BQM: &str = r#"{"type": "BinaryQuadraticModel", "version": {"bqm_schema": "3.0.0"}, "use_bytes": false,
 "index_type": "int32", "bias_type": "float64", "num_variables": 3, "num_interactions": 2,
 "variable_labels": ["a", 4, [1, "b"]], "variable_type": "BINARY", "offset": 2.5, "info": {"x": [1, {}]},
 "linear_biases": [-1.0, 0.0, 3], "quadratic_biases": [2, -4.5], "quadratic_head": [0, 1], "quadratic_tail": [1, 2]}"#;
const BQPJSON: &str = r#"{"version": "1.0.0", "id": 0, "metadata": {"any": 1}, "variable_domain": "spin", "scale": 2.0, "offset": 1.0,
 "variable_ids": [4, 2, 6], "linear_terms": [{"coeff": 1.5, "id": 2}], "description": "x",
 "quadratic_terms": [{"coeff": -0.5, "id_head": 4, "id_tail": 2}, {"coeff": 1, "id_head": 6, "id_tail": 2}]}"#;
const QIO: &str = r#"{"metadata": {"name": "x"}, "cost_function": {"version": "1.1", "terms": [{"c": -9, "ids": [0]}, {"c": -3, "ids": [1, 0]},
 {"c": 5, "ids": [2, 2]}, {"c": 7, "ids": []}], "type": "pubo_grouped", "terms_slc": [{"c": 2, "terms": [{"c": 1, "ids": [0]},
 {"c": -2, "ids": [2]}, {"c": -1, "ids": []}]}], "initial_configuration": {"0": 1, "2": 0}}}"#;

const ALL: [(Format, &str); 7] = [
    (Format::Gset, GSET),
    (Format::Orlib, ORLIB),
    (Format::Qbsolv, QBSOLV),
    (Format::Coo, COO),
    (Format::Bqm, BQM),
    (Format::Bqpjson, BQPJSON),
    (Format::Qio, QIO),
];

fn of(format: Format) -> ReadParams {
    ReadParams { format: Some(format), ..ReadParams::default() }
}

fn get(format: Format, text: &str) -> Instance {
    parse(text.as_bytes(), "f", &of(format)).unwrap()
}

/// The values of all assignments, the first variable counting fastest.
fn values(problem: &Problem) -> Vec<f64> {
    let n = problem.len();
    let x = |state: usize| -> Vec<u8> { (0..n).map(|i| (state >> i & 1) as u8).collect() };
    (0..1 << n).map(|state| problem.energy(&x(state))).collect()
}

fn bits<const N: usize>(f: impl Fn([f64; N]) -> f64) -> Vec<f64> {
    (0..1usize << N).map(|state| f(std::array::from_fn(|i| (state >> i & 1) as f64))).collect()
}

fn spins<const N: usize>(f: impl Fn([f64; N]) -> f64) -> Vec<f64> {
    bits(|x: [f64; N]| f(x.map(|v| 2.0 * v - 1.0)))
}

#[test]
fn each_form_has_its_authors_values() {
    let cut = |x: f64, y: f64| x + y - 2.0 * x * y;
    let gset = get(Format::Gset, GSET);
    assert_eq!(gset.sense, Sense::Maximize);
    let expected = bits(|[a, b, c]| cut(a, b) - 2.0 * cut(b, c) + 5.0 * cut(a, c));
    assert_eq!(values(&gset.problem().unwrap()), expected);

    let orlib = get(Format::Orlib, ORLIB);
    assert_eq!(orlib.sense, Sense::Maximize);
    let expected = bits(|[a, b, c]| 7.0 * a + 4.0 * b + 2.0 * (-3.0 * a * b + 5.0 * b * c));
    assert_eq!(values(&orlib.problem().unwrap()), expected);

    let qbsolv = get(Format::Qbsolv, QBSOLV);
    assert_eq!((qbsolv.sense, qbsolv.n), (Sense::Minimize, 4));
    let expected = bits(|[a, b, _, d]| 3.4 * a + 4.5 * b - d + 2.2 * a * b - 6.0 * b * d);
    for (found, expected) in values(&qbsolv.problem().unwrap()).iter().zip(&expected) {
        assert!((found - expected).abs() < 1e-12);
    }

    let coo = get(Format::Coo, COO);
    assert_eq!(coo.labels.as_deref().unwrap(), ["0", "7", "9"]);
    assert_eq!(values(&coo.problem().unwrap()), spins(|[a, b, c]| -a + 1.5 * a * b - 4.5 * b * c));

    let bqm = get(Format::Bqm, BQM);
    assert_eq!(bqm.labels.as_deref().unwrap(), ["a", "4", "[1,\"b\"]"]);
    assert_eq!(values(&bqm.problem().unwrap()), bits(|[a, b, c]| 2.5 - a + 3.0 * c + 2.0 * a * b - 4.5 * b * c));

    let bqpjson = get(Format::Bqpjson, BQPJSON);
    assert_eq!(bqpjson.labels.as_deref().unwrap(), ["2", "4", "6"]);
    let expected = spins(|[a, b, c]| 2.0 * (1.0 + 1.5 * a - 0.5 * a * b + a * c));
    assert_eq!(values(&bqpjson.problem().unwrap()), expected);

    let qio = get(Format::Qio, QIO);
    assert_eq!(qio.start.as_deref().unwrap(), [1, 0, 0]);
    let square = |x: f64| x * x;
    let expected = bits(|[a, b, c]| -9.0 * a - 3.0 * a * b + 5.0 * c + 7.0 + 2.0 * square(a - 2.0 * c - 1.0));
    assert_eq!(values(&qio.problem().unwrap()), expected);
    let ising = get(Format::Qio, &QIO.replace("pubo_grouped", "ising_grouped").replace("\"2\": 0", "\"2\": -1"));
    let expected = spins(|[a, b, c]| -9.0 * a - 3.0 * a * b + 5.0 * c * c + 7.0 + 2.0 * square(a - 2.0 * c - 1.0));
    assert_eq!(values(&ising.problem().unwrap()), expected);
}

/// Published instances, where they lie beside the workspace: all variables and entries that the list of them states.
#[test]
fn published_instances_are_read() {
    let Some(dir) = shared("qubo") else { return };
    let list = std::fs::read_to_string(dir.join("best_known.csv")).unwrap();
    let mut seen = 0;
    for line in list.lines().skip(1) {
        let cells: Vec<&str> = line.split(',').collect();
        let format = match cells[1] {
            "maxcut" => Format::Gset,
            "qubo-max" => Format::Orlib,
            _ => continue,
        };
        let instance = read(&dir.join(format!("{}.txt", cells[0])), &of(format)).unwrap();
        assert_eq!(instance.n.to_string(), cells[2], "{line}");
        let entries = match format {
            Format::Gset => instance.terms.iter().filter(|t| t.0 != t.1).count(),
            _ => instance.terms.len(),
        };
        assert_eq!(entries.to_string(), cells[3], "{line}");
        let problem = instance.problem().unwrap();
        assert!(problem.is_exact() && problem.energy(&vec![0; problem.len()]) == 0.0);
        seen += 1;
    }
    assert!(seen > 15);
}

#[test]
fn several_problems_of_a_file_are_told_apart() {
    let two = format!("2\n{ORLIB}2 1\n1 2 1\n");
    let e = parse(two.as_bytes(), "f", &of(Format::Orlib)).unwrap_err();
    check(&e, Code::InvalidArgument, "f: ", &["2 problems", "--problem 1 to 2"]);
    let at = |problem| parse(two.as_bytes(), "f", &ReadParams { problem: Some(problem), ..of(Format::Orlib) });
    assert_eq!((at(1).unwrap().n, at(2).unwrap().n), (3, 2));
    assert_eq!(at(1).unwrap().terms, get(Format::Orlib, ORLIB).terms);
    assert!(at(0).is_err() && at(3).is_err());
    // With its first line and one problem it is the same as without.
    assert_eq!(get(Format::Orlib, &format!("1\n{ORLIB}")).terms, get(Format::Orlib, ORLIB).terms);
}

#[test]
fn forms_are_guessed_where_there_is_no_doubt() {
    for (format, text) in ALL {
        let guessed = guess(text.as_bytes(), "f");
        match format {
            Format::Gset | Format::Orlib => check(
                &guessed.unwrap_err(),
                Code::InvalidArgument,
                "f: ",
                &["look alike", "--format gset", "--format orlib"],
            ),
            _ => assert_eq!(guessed.unwrap(), format),
        }
        assert_eq!(Format::from_name(format.name()), Some(format));
    }
    assert_eq!(guess(format!("1\n{ORLIB}").as_bytes(), "f").unwrap(), Format::Orlib);
    let e = guess(b"0 0 1\n0 1 2\n", "f").unwrap_err();
    check(&e, Code::InvalidArgument, "f: ", &["--vartype"]);
    for none in ["", "x", "{}", "[]", "{\"linear_terms\": 1}", "1 2 3 4", "{\"a\":"] {
        assert!(guess(none.as_bytes(), "f").is_err(), "{none}");
    }
}

#[test]
fn what_is_written_reads_again() {
    let dir = Dir::new("qubo-files");
    for (from, text) in ALL {
        let instance = get(from, text);
        let problem = instance.problem().unwrap();
        for to in Format::ALL {
            let path = dir.0.join("out");
            let saved = save(&path, to, &problem, instance.labels.as_deref());
            if to == Format::Gset && from != Format::Gset {
                check(&saved.unwrap_err(), Code::Unsupported, "", &["Max-Cut alone"]);
                continue;
            }
            let notes = saved.unwrap().join("; ");
            let again = read(&path, &of(to)).unwrap();
            let same = again.problem().unwrap();
            assert_eq!(notes.contains("opposite sign"), same.sense() != problem.sense(), "{notes}");
            let sign = if same.sense() == problem.sense() { 1.0 } else { -1.0 };
            let lost = if notes.contains("lack") { problem.offset() } else { 0.0 };
            assert_eq!(lost != 0.0, same.offset() != sign * problem.offset(), "{notes}");
            for (a, b) in values(&problem).into_iter().zip(values(&same)) {
                assert!((a - lost - sign * b).abs() < 1e-12, "{} to {}: {a} {b}", from.name(), to.name());
            }
            let labelled = [Format::Bqm, Format::Bqpjson, Format::Qio].contains(&to) && from != Format::Bqm;
            if labelled || (from, to) == (Format::Bqm, Format::Bqm) {
                assert_eq!(again.labels, instance.labels, "{} to {}", from.name(), to.name());
            }
            assert_eq!(
                notes.contains("by numbers"),
                from == Format::Bqm && [Format::Bqpjson, Format::Qio].contains(&to)
            );
        }
    }
}

#[test]
fn every_value_survives_the_way_through_text() {
    let terms = [(0, 1, 0.1 + 0.2), (1, 1, -1e-17), (0, 2, 1.2345678901234567e307), (2, 2, 123456789.123)];
    let problem = Problem::from_triplets(3, &terms, 0.7, Sense::Minimize).unwrap();
    for format in [Format::Qbsolv, Format::Coo, Format::Bqm, Format::Bqpjson, Format::Qio] {
        let mut text = Vec::new();
        write(&mut text, format, &problem, None).unwrap();
        let again = parse(&text, "f", &of(format)).unwrap().problem().unwrap();
        for i in 0..3 {
            assert_eq!(again.linear(i).to_bits(), problem.linear(i).to_bits());
            assert!(again.neighbours(i).eq(problem.neighbours(i)), "{}", format.name());
        }
    }
}

/// A file of that form is refused with that place and those words.
fn bad(format: Format, text: &str, place: &str, words: &[&str]) {
    let read = || within_limits(|| parse(text.as_bytes(), "f", &of(format)));
    match read() {
        Ok(_) => panic!("accepted: {text:.100}"),
        Err(e) => check(&e, e.code(), &format!("f{place}: "), words),
    }
}

#[test]
fn bad_lines_are_named() {
    use Format::*;
    bad(Gset, "", ":1", &["the file ends here"]);
    bad(Gset, "3\n", ":1", &["vertices and edges", "\"3\""]);
    bad(Gset, "3 2\n1 2 1\n", ":2", &["the file ends here", "edge 2 of 2"]);
    bad(Gset, "3 1\n1 2 1\n2 3 1\n", ":3", &["the end of the file after its 1 edges"]);
    bad(Gset, "3 1\n1 4 1\n", ":2", &["a variable from 1 to 3", "\"4\""]);
    bad(Gset, "3 1\n0 1 1\n", ":2", &["a variable from 1 to 3"]);
    bad(Gset, "3 1\n2 2 1\n", ":2", &["between two vertices"]);
    bad(Gset, "3 1\n1 2 nan\n", ":2", &["a finite number", "nan"]);
    bad(Gset, "3 1\n1 2\n", ":2", &["i j w"]);
    bad(Gset, "3 1\n1 2 1 1\n", ":2", &["i j w"]);
    bad(Gset, "4000000000 1\n1 2 1\n", ":1", &["a file of this size"]);
    bad(Gset, "3 18446744073709551615\n1 2 1\n", ":2", &["the file ends here"]);
    bad(Gset, "-3 1\n", ":1", &["number of vertices"]);
    bad(Orlib, "0\n", ":1", &["at least one problem"]);
    bad(Orlib, "99999999999999999999\n", ":1", &["number of problems"]);
    bad(Orlib, "1\n2 1\n1 1 1e400\n", ":3", &["a finite number"]);
    bad(Orlib, "3000000 1\n1 1 1\n", ":1", &["a file of this size"]);
    bad(Qbsolv, "q qubo 0 1 1 0\n0 0 1\n", ":1", &["the line p qubo"]);
    bad(Qbsolv, "p qubo 0 2 1 1\n0 1 1\n0 1 1\n", ":2", &["diagonal entry 1 of 1"]);
    bad(Qbsolv, "p qubo 0 2 0 1\n1 1 1\n", ":2", &["coupler 1 of 1"]);
    bad(Qbsolv, "p qubo 0 2 1 0\n2 2 1\n", ":2", &["a variable from 0 to 1"]);
    bad(Coo, "0 0 1\n", "", &["--vartype"]);
    bad(Coo, "# vartype=REAL\n0 0 1\n", ":1", &["vartype=BINARY"]);
    bad(Coo, "# vartype=SPIN\n# vartype=BINARY\n0 0 1\n", ":2", &["vartype=SPIN"]);
    bad(Coo, "# vartype=SPIN\n0 -1 1\n", ":2", &["a whole number as a name"]);
    bad(Coo, "# vartype=SPIN\n0 0 1.7e308\n0 1 1.7e308\n0 2 1.7e308\n", "", &["scale the file's numbers down"]);
    bad(Bqm, &BQM[..100], ":2", &["the file is cut"]);
    bad(Bqm, "{}", ":1", &["missing field"]);
    bad(Bqm, &BQM.replace("\"BINARY\"", "\"REAL\""), "", &["variable_type", "REAL"]);
    bad(Bqm, &BQM.replace("\"use_bytes\": false", "\"use_bytes\": true"), "", &["use_bytes=False"]);
    bad(Bqm, &BQM.replace("3.0.0", "1.0.0"), "", &["bqm_schema"]);
    bad(Bqm, &BQM.replace("\"num_variables\": 3", "\"num_variables\": 4"), "", &["num_variables", "4"]);
    bad(Bqm, &BQM.replace("[1, 2]}", "[1, 3]}"), "", &["interaction 1", "from 0 to 2"]);
    bad(Bqm, &BQM.replace("[1, 2]}", "[1, -2]}"), ":4", &["-2"]);
    bad(Bqm, &BQM.replace("[1, 2]}", "[1]}"), "", &["quadratic_tail"]);
    bad(Bqm, &BQM.replace("-4.5", "1e999"), ":4", &["number out of range"]);
    bad(Bqpjson, &BQPJSON.replace("\"spin\"", "\"real\""), "", &["variable_domain"]);
    bad(Bqpjson, &BQPJSON.replace("[4, 2, 6]", "[4, 2, 5]"), "", &["variable 6"]);
    bad(Bqpjson, &BQPJSON.replace("[4, 2, 6]", "[4, 2, 6, 4]"), "", &["only 3 different"]);
    bad(Bqpjson, &BQPJSON.replace("\"id_head\": 4", "\"id_head\": 2"), "", &["twice"]);
    bad(Bqpjson, &BQPJSON.replace("2.0", "1e308").replace("1.5", "1e308"), "", &["scale the file's numbers down"]);
    bad(Qio, &QIO.replace("[1, 0]", "[1, 0, 2]"), "", &["3 variables"]);
    bad(Qio, &QIO.replace("pubo_grouped", "pubo"), "", &["terms_slc"]);
    bad(Qio, &QIO.replace("pubo_grouped", "soft"), "", &["\"soft\""]);
    bad(Qio, &QIO.replace("\"2\": 0", "\"2\": -1"), "", &["initial_configuration", "0 or 1"]);
    bad(Qio, &QIO.replace("[2]", "[2, 1]"), "", &["group 0"]);
    let deep = format!("{}1{}", "[".repeat(5000), "]".repeat(5000));
    bad(Bqm, &BQM.replace("\"a\"", &deep), ":3", &["recursion limit"]);
    // What is passed over may be as deep as it likes.
    assert!(within_limits(|| parse(QIO.replace("\"x\"", &deep).as_bytes(), "f", &of(Qio))).is_ok());
}

#[test]
fn files_that_are_no_files() {
    let dir = Dir::new("qubo-no-files");
    let any = ReadParams::default();
    let refuse = |path: &std::path::Path, code: Code| {
        let e = within_limits(|| read(path, &any)).unwrap_err();
        assert_eq!(e.code(), code, "{e}");
    };
    refuse(&dir.0, Code::InvalidArgument);
    refuse(&dir.0.join("none"), Code::NotFound);
    refuse(&dir.file("empty", b""), Code::Format);
    refuse(&dir.file("zeros", &[0; 1 << 20]), Code::InvalidArgument);
    for (format, _) in ALL {
        let binary: Vec<u8> = (0..1 << 20).map(|i| (i * 31 % 251) as u8).collect();
        let e = within_limits(|| parse(&binary, "f", &of(format))).unwrap_err();
        assert!(e.message().len() < 500 && e.message().is_ascii(), "{e}");
    }
    // A square of a sum of ten thousand variables has fifty million terms.
    let many: Vec<String> = (0..10_000).map(|i| format!("{{\"c\":1,\"ids\":[{i}]}}")).collect();
    let text = format!(
        "{{\"cost_function\":{{\"type\":\"pubo_grouped\",\"terms_slc\":[{{\"c\":1,\"terms\":[{}]}}]}}}}",
        many.join(",")
    );
    bad(Format::Qio, &text, "", &["split the groups"]);
}

#[test]
fn numbers_that_are_rounded_are_told() {
    let instance = get(Format::Orlib, "1 1\n1 1 90071992547409931\n");
    assert!(instance.notes[0].starts_with("f:2: ") && instance.notes[0].contains("2^53"), "{:?}", instance.notes);
    let text = r#"{"cost_function": {"type": "pubo", "terms": [{"c": 90071992547409931, "ids": [0]}]}}"#;
    assert_eq!(get(Format::Qio, text).notes.len(), 1);
    assert!(get(Format::Orlib, ORLIB).notes.is_empty());
}

#[test]
fn small_ones_have_answers() {
    for (format, text, n) in [
        (Format::Gset, "0 0\n", 0),
        (Format::Gset, "1 0\n", 1),
        (Format::Orlib, "5 0\n", 5),
        (Format::Qbsolv, "p qubo 0 0 0 0\n", 0),
        (Format::Coo, "# vartype=BINARY\n", 0),
        (Format::Qio, r#"{"cost_function": {"type": "ising", "terms": []}}"#, 0),
    ] {
        let problem = get(format, text).problem().unwrap();
        assert_eq!((problem.len(), problem.energy(&vec![1; n])), (n, 0.0));
    }
    // Terms that come twice are summed.
    let coo = get(Format::Coo, "# vartype=BINARY\n0 1 2\n1 0 3\n0 0 1\n0 0 1\n").problem().unwrap();
    assert_eq!((coo.energy(&[1, 1]), coo.couplings()), (7.0, 1));
    let given = ReadParams { vartype: Some(Vartype::Spin), ..of(Format::Coo) };
    assert_eq!(parse(b"0 1 1\n", "f", &given).unwrap().problem().unwrap().energy(&[0, 1]), -1.0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever bytes are changed, cut or put in: an instance whose terms are in range, or an error; never a panic, never much
    /// memory.
    #[test]
    fn changed_files_never_panic(
        which in 0..ALL.len(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4u8), 0..6),
        words in prop::collection::vec((any::<prop::sample::Index>(), 0..10usize), 0..3),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        const WORDS: [&str; 10] =
            ["-1", "18446744073709551616", "1e308", "[", "{", "\n", "null", "9007199254740993", "\"", "0.5"];
        let (format, text) = ALL[which];
        let mut bytes = text.as_bytes().to_vec();
        for (at, byte, kind) in edits {
            let at = at.index(bytes.len().max(1)).min(bytes.len());
            match kind {
                0 if at < bytes.len() => bytes[at] = byte,
                1 if at < bytes.len() => drop(bytes.remove(at)),
                2 => bytes.insert(at, b"0123456789 \n-.e[]{},:\""[byte as usize % 22]),
                _ => bytes.insert(at, byte),
            }
        }
        for (at, word) in words {
            let at = at.index(bytes.len() + 1);
            bytes.splice(at..at, WORDS[word].bytes());
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len() + 1));
        }
        for params in [of(format), ReadParams::default(), ReadParams { problem: Some(1), ..of(format) }] {
            match within_limits(|| parse(&bytes, "f", &params)) {
                Ok(instance) => {
                    prop_assert!(instance.terms.iter().all(|t| (t.0.max(t.1) as usize) < instance.n && t.2.is_finite()));
                    prop_assert!(instance.labels.is_none_or(|labels| labels.len() == instance.n));
                    prop_assert!(instance.start.is_none_or(|start| start.len() == instance.n));
                }
                Err(e) => prop_assert!(e.message().starts_with('f') && e.message().len() < 600, "{}", e),
            }
        }
    }
}
