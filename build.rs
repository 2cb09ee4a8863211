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
    const SOURCES: [&str; 18] = [
        "ffi/error",
        "ffi/version",
        "ffi/types",
        "ffi/runtime",
        "ffi/model",
        "ffi/tokenizer",
        "ffi/chat",
        "ffi/context",
        "ffi/batch",
        "ffi/sampler",
        "ffi/generate",
        "ffi/arena",
        "tensor/mod",
        "tensor/dlpack",
        "ffi/tensor",
        "ffi/ops",
        "ffi/builder",
        "ffi/forward",
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
        builder.generate().expect("cbindgen understands src/ffi").write_to_file(&header);
        println!("cargo:rustc-env=QORUS_MADE_HEADER={}", header.display());
    }
}
