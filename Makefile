# `make` lists the targets. `make test` runs every check that a change must pass. It needs Rust,
# Python 3 and make; it downloads other tools, at pinned versions, into the target directory. Node 20
# is needed for one vendor's client and for Helm, which comes from npm. Without Node, those checks are
# skipped.
#
# In CI (CI=true) a skipped check is an error, unless scripts/skipped.allowed lists it.

CARGO ?= cargo
# The checks use Cargo.lock as it is committed.
LOCKED := --locked
# The packages that the tests and documents cover. The fuzz targets and the constant-time programs need
# flags of their own: scripts/fuzz.sh and scripts/constant-time.sh build and run them.
PACKAGES := --workspace --exclude voxgate-fuzz --exclude voxgate-constant-time
FEATURES := --all-features

# Builds the program for the checks that run it. With the examples, cargo selects the same features of
# the dependencies as for the tests, and has nothing left to build after `make unit`.
BUILD_PROGRAM = $(CARGO) build $(LOCKED) $(PACKAGES) $(FEATURES) --bin voxgate --examples

# In this order: checks that fail quickly come first.
CHECKS := fmt lint clippy features unit valkey doctest docs docs-run clients proxies chart fuzz constant-time deny \
	msrv minimal-versions

.DEFAULT_GOAL := help
.PHONY: help build test begin reference screenshots sim soak bench bench-proxies dudect image reproducible \
	clean $(CHECKS)
# The steps share one target directory and one list of skipped checks.
.NOTPARALLEL:

help: ## Print this list.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-17s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo
	@echo "If you are root, missing Debian packages are installed. Set NO_INSTALL=1 to prevent this."

build: ## Build the program in release mode.
	$(CARGO) build --release $(LOCKED) --bin voxgate

test: begin $(CHECKS) ## Run every check below, then list the skipped checks and what passed.
	@scripts/skipped.sh report $(CHECKS)

begin:
	@scripts/skipped.sh reset

fmt: ## Check the formatting of the Rust code.
	@if $(CARGO) fmt --version >/dev/null 2>&1; then \
		set -x; $(CARGO) fmt --all --check; \
	else scripts/skipped.sh add rustfmt 'not installed (rustup component add rustfmt)'; fi

lint: ## Check the spelling, the shell scripts and the GitHub workflows.
	scripts/lint.sh

clippy: ## Lint the Rust code; a warning is an error.
	@if $(CARGO) clippy --version >/dev/null 2>&1; then set -ex; \
		$(CARGO) clippy $(LOCKED) $(PACKAGES) --all-targets $(FEATURES) -- -D warnings; \
		$(CARGO) clippy $(LOCKED) --package voxgate-fuzz --package voxgate-constant-time \
			--all-targets -- -D warnings; \
	else scripts/skipped.sh add clippy 'not installed (rustup component add clippy)'; fi

features: ## Check every combination of features of each library.
	scripts/features.sh

unit: ## Run the unit tests, the integration tests and the tests of the examples.
	@for tool in curl strace; do \
		command -v $$tool >/dev/null || why=$$(scripts/debian-package.sh $$tool) || \
			scripts/skipped.sh add $$tool "$$why"; \
	done
	@# The integration tests start the examples. `cargo test --examples` builds only their tests.
	$(CARGO) build $(LOCKED) $(PACKAGES) $(FEATURES) --examples
	@# Many tests wait for time limits, so at least six run at once, however few cores there are.
	set -x; cores=$$(getconf _NPROCESSORS_ONLN); \
		RUST_TEST_THREADS=$${RUST_TEST_THREADS:-$$((cores < 6 ? 6 : cores))} \
		$(CARGO) test $(LOCKED) $(PACKAGES) $(FEATURES) --lib --bins --tests --examples

valkey: ## Run the tests of limits across replicas against Valkey.
	scripts/valkey.sh $(CARGO) test $(LOCKED) $(PACKAGES) $(FEATURES) --lib --quiet

doctest: ## Run the examples in the Rust documentation.
	$(CARGO) test $(LOCKED) $(PACKAGES) $(FEATURES) --doc

docs: ## Build the Rust documentation; a broken link is an error.
	@# --lib: the library and the program have the same name.
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc $(LOCKED) $(PACKAGES) $(FEATURES) --no-deps --lib

docs-run: ## Run the commands in README.md and docs/.
	$(BUILD_PROGRAM)
	scripts/docs.sh

reference: ## Generate docs/reference from the code. `make unit` checks that it is current.
	UPDATE_REFERENCE=1 $(CARGO) test $(LOCKED) --package voxgate-gateway $(FEATURES) \
		--test it reference

clients: ## Run the vendors' own clients through the gateway.
	$(BUILD_PROGRAM)
	scripts/clients.sh

proxies: ## Run nginx, HAProxy, Traefik, Caddy and Envoy, which ask the gateway about each request.
	$(BUILD_PROGRAM)
	scripts/proxies.sh

chart: ## Test the Helm chart against the Kubernetes schemas and the gateway.
	$(BUILD_PROGRAM)
	scripts/chart.sh

fuzz: ## Fuzz each parser of client input for FUZZ_SECONDS (default: 15).
	scripts/fuzz.sh

constant-time: ## Check with valgrind that authentication takes constant time.
	scripts/constant-time.sh

deny: ## Check the dependencies' licences, sources and security advisories with cargo-deny.
	scripts/deny.sh

msrv: ## Check the code with the oldest supported Rust version.
	scripts/msrv.sh

minimal-versions: ## Check the libraries with the oldest dependencies that Cargo.toml allows.
	scripts/minimal-versions.sh

screenshots: ## Make screenshots of the audit report with Chromium.
	scripts/screenshots.sh

sim: ## Simulate 200 gateways and 1 000 000 callers in virtual time; takes minutes. `make unit` does it in small.
	$(CARGO) run --profile simulation $(LOCKED) --package voxgate-simulation

soak: ## Run all kinds of requests for ten minutes, with restarts. `make unit` does it for one minute.
	VOXGATE_SOAK_SECONDS=$${SOAK_SECONDS:-600} $(CARGO) test $(LOCKED) --package voxgate-gateway \
		$(FEATURES) --test it -- --nocapture gateway::soak

bench: ## Measure keys, limits, bodies, quotas, tokens and the audit log. Not part of `make test`.
	$(CARGO) bench $(LOCKED) $(PACKAGES) $(FEATURES) --bench layer --bench keys --bench limits \
		--bench speech --bench usage --bench tokens --bench audit

bench-proxies: ## Compare with nginx, HAProxy, Envoy and bare hyper. Needs a quiet machine; not part of `make test`.
	scripts/bench-proxies.sh

dudect: ## Measure constant time statistically. Needs an idle machine; not part of `make test`.
	scripts/dudect.sh

image: ## Build the image without a registry and probe its program. Needs root; not part of `make test`.
	scripts/image.sh

reproducible: ## Build the program twice, in two folders, and compare. Not part of `make test`.
	scripts/reproducible.sh

clean: ## Remove everything that was built or downloaded.
	$(CARGO) clean
	rm -rf target
