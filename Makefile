# The commands of the house. Needed: the Rust toolchain, a C linker, Python 3 with pip or venv, make.
PYTHON ?= python3
# Suites that need real clients or servers, each a target of its own; `test-all` runs them after `test`.
SUITES := test-clients

.PHONY: help run test test-all check onnxruntime test-models test-onnxruntime test-training $(SUITES)
.NOTPARALLEL:

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: onnxruntime ## build, and serve the models under models/ on ports 8001 (gRPC) and 8002
	cargo run --locked --release -- serve

test: onnxruntime test-onnxruntime test-models ## everything that needs no extra client or server
	cargo test --locked

test-all: test $(SUITES) ## `test`, then the suites with real clients and servers

check: ## formatting, lints, documentation; licences and sources where cargo-deny is installed
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps
	@if cargo deny --version >/dev/null 2>&1; \
	then cargo deny --locked check licenses bans sources; \
	else echo "cargo-deny is not installed: licences, bans and sources are not checked"; fi

onnxruntime: ## put ONNX Runtime's library into .onnxruntime/ (HILUM_ORT_WHEEL=PATH: from a wheel at hand)
	@$(PYTHON) deploy/onnxruntime/fetch.py

test-onnxruntime: ## how ONNX Runtime is fetched, without a network
	$(PYTHON) -m unittest discover --start-directory deploy/onnxruntime --buffer

test-models: ## the checksums of the bundles under models/
	@set -e; for sums in models/*/*/SHA256SUMS; do \
	(cd "$$(dirname "$$sums")" && sha256sum --quiet --check SHA256SUMS); done

test-clients: onnxruntime ## tritonclient, grpcio, grpcurl, promtool (HILUM_BIN=FILE: with that binary)
	$(if $(HILUM_BIN),,cargo build --locked)
	@environment="$$(PYTHON=$(PYTHON) .ci/venv clients tests/clients/requirements.txt)" && set -x && \
	"$$environment/bin/python" -m pytest tests/clients -q -rs

test-training: ## the training package on generated data; takes PyTorch and Keras, not in `test-all`
	@environment="$$(PYTHON=$(PYTHON) .ci/venv training training/requirements.txt)" && set -x && \
	"$$environment/bin/python" -m pytest training/tests -q -rs
