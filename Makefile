.PHONY: help test check
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
