# The commands of the house. Needed: the Rust toolchain, a C linker, Python 3 with pip or venv, make.
PYTHON ?= python3
# Suites that need real clients or servers, each a target of its own; `test-all` runs them after `test`.
SUITES := test-proto test-clients test-examples test-imaging test-figures test-store

.PHONY: help run test test-all check bench bench-audit bench-overload bench-imaging fuzz onnxruntime test-models test-onnxruntime test-training $(SUITES)
.NOTPARALLEL:

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: onnxruntime ## build, and serve the models under models/ on ports 8000 (HTTP), 8001 (gRPC) and 8002
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

test-proto: ## buf: lint of proto/, and nothing that breaks a client of proto/wire.binpb
	@buf="$$(.ci/buf)" && if [ -z "$$buf" ]; then echo "skipped: neither buf nor npm is there"; \
	else set -x && "$$buf" lint proto && "$$buf" breaking proto --against proto/wire.binpb; fi

test-clients: onnxruntime ## tritonclient, perf_analyzer, KServe, connect-es, curl, … (HILUM_BIN=FILE: with that binary)
	$(if $(HILUM_BIN),,cargo build --locked)
	@environment="$$(PYTHON=$(PYTHON) .ci/venv clients tests/clients/requirements.txt)" && set -x && \
	"$$environment/bin/python" -m pytest tests/clients -q -rs

test-examples: onnxruntime ## each of examples/ against a real server (HILUM_BIN=FILE: with that binary)
	cargo build --locked --bin hilum --example infer --example classify
	@environment="$$(PYTHON=$(PYTHON) .ci/venv clients tests/clients/requirements.txt)" && set -x && \
	"$$environment/bin/python" -m pytest tests/examples -q -rs

test-store: onnxruntime ## store, registry and shipping against real servers: SeaweedFS, moto (S3), PostgreSQL, MiniStack (Athena)
	$(if $(HILUM_BIN),,cargo build --locked)
	@environment="$$(PYTHON=$(PYTHON) .ci/venv store tests/store/requirements.txt)" && set -x && \
	"$$environment/bin/python" -m pytest tests/store -q -rs

bench: onnxruntime ## what serving costs against what the machine can do (docs/benchmarks.md); takes minutes
	cargo bench --locked --bench serving

bench-audit: ## a million records (ROWS=N: as many): written, shipped, verified, an aggregate over them
	@made="$$(mktemp -d)" && trap 'rm -r "$$made"' EXIT && set -x && \
	cargo bench --locked --bench audit -- $(or $(ROWS),1000000) "$$made" && \
	"$$(PYTHON=$(PYTHON) .ci/venv store tests/store/requirements.txt)/bin/python" benches/audit_query.py "$$made"

bench-overload: onnxruntime ## goodput at twice the saturating rate; takes minutes
	cargo build --locked --release --bin hilum
	$(PYTHON) benches/overload.py $(or $(CARGO_TARGET_DIR),target)/release/hilum

test-training: ## the training package on generated data; takes PyTorch and Keras, not in `test-all`
	@environment="$$(PYTHON=$(PYTHON) .ci/venv training training/requirements.txt)" && set -x && \
	"$$environment/bin/python" -m pytest training/tests -q -rs

# Of training/tests those that need no training framework.
FIGURES := $(addprefix training/tests/test_,bundle.py cifar10.py data.py metrics.py)
test-figures: ## bundles against goldens, cards and docs/models.md; mnist/1's figures anew on the real images
	@environment="$$(PYTHON=$(PYTHON) .ci/venv figures training/requirements-evaluate.txt)" && set -x && \
	HILUM_DATA="$(abspath $(DATA))" "$$environment/bin/python" -m pytest $(FIGURES) -q -rs

# The real images: what HILUM_DATA names, by default a folder beside the repository.
DATA = $(or $(HILUM_DATA),../shared/data)
EXAMPLES = $(or $(CARGO_TARGET_DIR),target)/debug/examples
test-imaging: ## decoders, recipes and statistics against pydicom, Pillow and NumPy
	cargo build --locked --example imaging_dump
	@environment="$$(PYTHON=$(PYTHON) .ci/venv imaging tests/imaging/requirements.txt)" && set -ex && \
	python="$$environment/bin/python -W ignore" && made="$$(mktemp -d)" && trap 'rm -r "$$made"' EXIT && \
	$$python tests/imaging/synthetic.py "$$made" && \
	$$python tests/imaging/compare_dicom.py $(EXAMPLES)/imaging_dump "$$made" && \
	$$python tests/imaging/compare_formats.py $(EXAMPLES)/imaging_dump && \
	if [ -d $(DATA)/dicom ]; then \
	$$python tests/imaging/compare_dicom.py $(EXAMPLES)/imaging_dump $(DATA)/dicom && \
	$$python tests/imaging/compare_pillow.py $(EXAMPLES)/imaging_dump $(DATA); \
	else echo "skipped: $(DATA) is not there (set HILUM_DATA)"; fi

BUILT = $(or $(CARGO_TARGET_DIR),target)/release
bench-imaging: ## decoders and recipes: each step, against Pillow and NumPy, a folder of 10,000 images
	cargo bench --locked --bench imaging
	cargo build --locked --release --bin hilum --example imaging_time
	@environment="$$(PYTHON=$(PYTHON) .ci/venv imaging tests/imaging/requirements.txt)" && set -ex && \
	python="$$environment/bin/python" && \
	if [ -d $(DATA)/chest_xray_original ]; then \
	$$python tests/imaging/time_pillow.py $(BUILT)/examples/imaging_time $(DATA)/chest_xray_original; \
	else echo "skipped: $(DATA) is not there (set HILUM_DATA)"; fi && \
	$$python tests/imaging/many.py $(BUILT)/hilum

fuzz: ## mutate the corpus of image files for FUZZ_SECONDS (3600), within 2 GiB
	cargo test --locked --test fuzz --no-run
	ulimit -v 2097152 && FUZZ_SECONDS=$${FUZZ_SECONDS:-3600} FUZZ_SEED=$${FUZZ_SEED:-$$(date +%s)} cargo test --locked --test fuzz
