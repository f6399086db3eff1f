.PHONY: help test check fuzz
help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'
test: ## everything that needs no extra server
	cargo test --locked
	cd models/mnist/1 && sha256sum --quiet -c SHA256SUMS
	cd models/mnist/2 && sha256sum --quiet -c SHA256SUMS
check: ## formatting, lints, documentation
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps
fuzz: ## mutate the corpus of files for FUZZ_SECONDS (3600), within 2 GiB
	cargo test --locked --test fuzz --no-run
	ulimit -v 2097152 && FUZZ_SECONDS=$${FUZZ_SECONDS:-3600} FUZZ_SEED=$${FUZZ_SEED:-$$(date +%s)} cargo test --locked --test fuzz
