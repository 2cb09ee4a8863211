# One command checks everything: `make check`. The others are its parts.

.PHONY: check test lint docs examples

check:
	.ci/run

test:
	cargo test --workspace --all-features

lint:
	cargo fmt --check
	cargo clippy --workspace --all-targets --all-features -- -D warnings

docs:
	RUSTDOCFLAGS=-Dwarnings cargo doc --workspace --all-features --no-deps

examples:
	cargo build --release --features capi,train
	$(MAKE) -C examples/c run MODEL=$(CURDIR)/cli/models/stories15M-q8_0.gguf
