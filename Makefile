# `make` lists the targets. `make test` must pass before a change is merged. It needs Rust, Python 3
# and make, and downloads everything else, pinned, into the target directory. One vendor's client and
# the chart's tests need Node 20.

CARGO ?= cargo
# The library's features, the commands of the audit log, and the whole program.
FEATURES := --features voxgate/axum,voxgate/audit-log,voxgate/notify,voxgate-audit-log/cli
# What is released. `fuzz` and `constant-time` are members for fmt and clippy.
PACKAGES := -p voxgate -p voxgate-audit-log -p voxgate-limits-redis -p voxgate-gateway
# The lock file is part of what is tested.
LOCKED := --locked

# In this order: checks that fail quickly come first.
CHECKS := fmt lint clippy features unit doctest docs docs-run clients chart fuzz constant-time deny msrv

.DEFAULT_GOAL := help
.PHONY: help build test begin bench clean dudect reference $(CHECKS)
# The steps share one target directory and one list of skipped checks.
.NOTPARALLEL:

help: ## Print this list.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-13s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo
	@echo "As root, missing Debian packages are installed; NO_INSTALL=1 disables that."

build: ## Build the program in release mode.
	$(CARGO) build --release $(LOCKED) -p voxgate-gateway

test: begin $(CHECKS) ## Run every check below, then list what was skipped.
	@scripts/skipped.sh report

begin:
	@scripts/skipped.sh reset

fmt: ## Check the formatting.
	@if $(CARGO) fmt --version >/dev/null 2>&1; then \
		set -x; $(CARGO) fmt --all --check; \
	else scripts/skipped.sh add rustfmt 'not installed (rustup component add rustfmt)'; fi

lint: ## Check spelling, the workflows, and the syntax of the scripts.
	scripts/lint.sh

clippy: ## Lint the whole workspace; a warning is an error.
	@if $(CARGO) clippy --version >/dev/null 2>&1; then \
		set -x; $(CARGO) clippy $(LOCKED) --workspace --all-targets $(FEATURES) -- -D warnings; \
	else scripts/skipped.sh add clippy 'not installed (rustup component add clippy)'; fi

features: ## Check the library with each combination of its features, and its number of dependencies.
	scripts/features.sh

unit: ## Run the tests of the crates and the examples, and the integration tests.
	@# The integration tests start these programs; `cargo test --examples` builds their tests instead.
	$(CARGO) build $(LOCKED) $(PACKAGES) $(FEATURES) --examples --bins
	$(CARGO) test $(LOCKED) $(PACKAGES) $(FEATURES) --lib --bins --tests --examples

doctest: ## Run the examples in the documentation.
	$(CARGO) test $(LOCKED) $(PACKAGES) $(FEATURES) --doc

docs: ## Build the documentation of the crates; a broken link is an error.
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc $(LOCKED) --no-deps $(PACKAGES) $(FEATURES)

docs-run: ## Run the commands in README and docs, and check their links.
	$(CARGO) build $(LOCKED) $(PACKAGES) $(FEATURES) --bin voxgate
	scripts/docs.sh

reference: ## Write docs/reference/settings.md and cli.md again from the code.
	UPDATE_REFERENCE=1 $(CARGO) test $(LOCKED) $(PACKAGES) $(FEATURES) --test it reference

clients: ## Run vendors' own clients through the gateway.
	$(CARGO) build $(LOCKED) $(PACKAGES) $(FEATURES) --bin voxgate
	scripts/clients.sh

chart: ## Render the Helm chart, and check it against Kubernetes, the gateway and its documentation.
	$(CARGO) build $(LOCKED) $(PACKAGES) $(FEATURES) --bin voxgate
	scripts/chart.sh

fuzz: ## Fuzz each parser of untrusted input for FUZZ_SECONDS (30).
	scripts/fuzz.sh

constant-time: ## Check in valgrind that the layer takes constant time.
	scripts/constant-time.sh

deny: ## Check licences, sources and advisories of the dependencies with cargo-deny.
	scripts/deny.sh

msrv: ## Check that the oldest supported Rust builds the workspace.
	scripts/msrv.sh

bench: ## Measure what keys, limits and the audit trail cost.
	$(CARGO) bench $(LOCKED) -p voxgate -p voxgate-limits-redis $(FEATURES) --benches

dudect: ## Measure that the layer takes constant time. Not part of `make test`: it needs a quiet machine.
	scripts/dudect.sh

clean: ## Remove everything that was built or downloaded.
	$(CARGO) clean
	rm -rf target
