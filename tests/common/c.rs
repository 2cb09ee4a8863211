//! C and C++ programs, built against the shared library and run.
#![allow(dead_code)] // no test uses all of it

use std::io::Write as _; // not held back by the test harness, as the print macros are
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A file of the repository.
pub fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Whether a program can be run; says aloud if not.
pub fn have(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok_and(|o| o.status.success());
    if !found {
        drop(writeln!(std::io::stderr(), "SKIPPED: {program} is not installed"));
    }
    found
}

/// The shared library with the C ABI: the one that was built with this test, or else one built for it.
pub fn library() -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    let beside = exe.parent().unwrap().join("libqorus.so");
    // Cargo gives the library one name for all sets of features, so a build without `capi` may have come in between.
    let mut wanted = vec![(&b"\0q_abi_version"[..], "capi")];
    wanted.extend(cfg!(feature = "train").then_some((&b"\0q_optimizer_step"[..], "train")));
    wanted.extend(cfg!(feature = "qubo").then_some((&b"\0q_qubo_create"[..], "qubo")));
    let features = wanted.iter().map(|w| w.1).collect::<Vec<_>>().join(",");
    let has = |bytes: &[u8]| wanted.iter().all(|(name, _)| bytes.windows(name.len()).any(|w| w == *name));
    let has_abi = |path: &Path| std::fs::read(path).is_ok_and(|bytes| has(&bytes));
    if has_abi(&beside) {
        return beside;
    }
    let target = root("target").join(features.replace(',', "-"));
    let cargo = std::env::var_os("CARGO").unwrap_or("cargo".into());
    let args = ["build", "--features", &features, "--target-dir"];
    let built = Command::new(cargo).current_dir(root("")).args(args).arg(&target).status().unwrap();
    assert!(built.success(), "the library with the features {features} could not be built");
    let library = target.join("debug/libqorus.so");
    assert!(has_abi(&library), "{} has no C ABI", library.display());
    library
}

/// A folder for the programs of one test, with the library under its names.
pub fn folder(test: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap();
    let library = library();
    for name in ["libqorus.so", "libqorus.so.0.1"] {
        std::os::unix::fs::symlink(&library, dir.join(name)).unwrap();
    }
    dir
}

/// Compiles `source` with every warning an error; the program. None without a compiler.
pub fn compile(dir: &Path, source: &str, extra: &[&str]) -> Option<PathBuf> {
    let cpp = source.ends_with(".cpp");
    let compiler = if cpp { "g++" } else { "gcc" };
    if !have(compiler) {
        return None;
    }
    let source = root(source);
    let program = dir.join(source.file_stem().unwrap());
    let mut command = Command::new(compiler);
    command.arg(if cpp { "-std=c++17" } else { "-std=c99" }).args(["-Wall", "-Wextra", "-pedantic", "-Werror"]);
    command.args(if cfg!(feature = "train") { &["-DQ_ENABLE_TRAINING"][..] } else { &[] });
    command.args(if cfg!(feature = "qubo") { &["-DQ_ENABLE_QUBO"][..] } else { &[] });
    command.args(["-O1", "-g"]).args(extra).arg(&source).arg("-I").arg(root("include"));
    command.arg("-o").arg(&program).arg("-L").arg(dir).args(["-lqorus", "-lpthread", "-lm"]);
    let built = command.output().unwrap();
    assert!(built.status.success(), "{}: {}", source.display(), String::from_utf8_lossy(&built.stderr));
    Some(program)
}

/// A command that finds the library.
pub fn command(dir: &Path, program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command.env("LD_LIBRARY_PATH", dir);
    command
}

/// Runs it and demands success; what it printed.
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    succeeded(command, &output);
    String::from_utf8(output.stdout).unwrap()
}

/// Demands success.
pub fn succeeded(command: &Command, output: &Output) {
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
