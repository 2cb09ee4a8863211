//! Names the shared library, and makes the header of the C ABI from `src/ffi` into OUT_DIR.
//!
//! `include/qorus.h` is the checked-in copy: `tests/capi_header.rs` compares the two, and writes it when asked to.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    #[cfg(feature = "capi")]
    capi::build();
}

#[cfg(feature = "capi")]
mod capi {
    use std::env;
    use std::path::Path;

    /// The files of the ABI, in the order of the header.
    const SOURCES: [&str; 21] = [
        "ffi/error",
        "ffi/version",
        "ffi/types",
        "ffi/runtime",
        "ffi/model",
        "ffi/tokenizer",
        "ffi/chat",
        "ffi/context",
        "ffi/batch",
        "ffi/adapter",
        "ffi/sampler",
        "ffi/generate",
        "ffi/arena",
        "tensor/mod",
        "tensor/dlpack",
        "ffi/tensor",
        "ffi/ops",
        "ffi/builder",
        "ffi/forward",
        "ffi/train/mod",
        "ffi/qubo/mod",
    ];

    pub fn build() {
        println!("cargo:rerun-if-changed=cbindgen.toml");
        println!("cargo:rerun-if-changed=src/ffi");
        println!("cargo:rerun-if-changed=src/tensor");
        let number = |key: &str| env::var(key).ok().and_then(|v| v.parse::<u32>().ok()).expect("cargo sets versions");
        let (major, minor) = (number("CARGO_PKG_VERSION_MAJOR"), number("CARGO_PKG_VERSION_MINOR"));
        // Before 1.0 every minor version may break the ABI; src/ffi/version.rs computes the same number.
        let (abi, suffix) = if major == 0 { (minor, format!("0.{minor}")) } else { (major << 16, major.to_string()) };
        if env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os != "windows" && os != "macos") {
            println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libqorus.so.{suffix}");
        }
        let root = env::var("CARGO_MANIFEST_DIR").expect("cargo sets the folder of the manifest");
        let root = Path::new(&root);
        let ffi = root.join("src/ffi");
        let mut config = cbindgen::Config::from_file(root.join("cbindgen.toml")).expect("cbindgen.toml can be read");
        config.header = Some(std::fs::read_to_string(ffi.join("manual.h")).expect("src/ffi/manual.h can be read"));
        config.after_includes = Some(format!(
            "\n/**\n * The ABI this header describes: see q_abi_version.\n */\n#define Q_ABI_VERSION {abi}"
        ));
        let mut builder = cbindgen::Builder::new().with_config(config);
        for source in SOURCES {
            builder = builder.with_src(root.join("src").join(source).with_extension("rs"));
        }
        let header = Path::new(&env::var("OUT_DIR").expect("cargo sets OUT_DIR")).join("qorus.h");
        let mut made = Vec::new();
        builder.generate().expect("cbindgen understands src/ffi").write(&mut made);
        let made = String::from_utf8(made).expect("the sources are UTF-8");
        std::fs::write(&header, merged(&made)).expect("OUT_DIR can be written");
        println!("cargo:rustc-env=QORUS_MADE_HEADER={}", header.display());
    }

    /// The header with one block where neighbours, or a block and what is in it, have one condition: the generator encloses
    /// every item alone, and every value of an enum again.
    fn merged(text: &str) -> String {
        const FEATURE: &str = "#if defined(Q_ENABLE_";
        let (mut open, mut lines): (Vec<&str>, Vec<&str>) = (Vec::new(), Vec::new());
        // The condition of the block that ended in the last line but blank ones.
        let mut ended = None;
        for line in text.lines() {
            if line.starts_with("#if") {
                let inside = line.starts_with(FEATURE) && open.contains(&line);
                open.push(if inside { "" } else { line });
                if inside {
                    continue;
                }
                if line.starts_with(FEATURE) && ended == Some(line) {
                    lines.truncate(lines.iter().rposition(|l| l.starts_with("#endif")).unwrap_or(lines.len()));
                    ended = None;
                    lines.push("");
                    continue;
                }
            } else if line.starts_with("#endif") {
                ended = open.pop();
                if ended == Some("") {
                    continue;
                }
            }
            if !line.is_empty() && !line.starts_with("#endif") {
                ended = None;
            }
            lines.push(line);
        }
        lines.join("\n") + "\n"
    }
}
