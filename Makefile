# Weir's tasks. `make` alone lists them.
SHELL := /usr/bin/env bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
# Two makes in one checkout would only wait for each other's locks.
.NOTPARALLEL:

# A stale Cargo.lock is an error where nobody would notice that it was changed.
LOCKED := $(if $(CI),--locked)
WORKSPACE := --workspace $(LOCKED)
# npm ci leaves this behind; older than the lock file it is stale.
TOOLS := node_modules/.weir-setup

.PHONY: help
help: ## List the tasks
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: $(TOOLS) ## Install what the other tasks need: pinned packages of npm and PyPI, and strace where that is possible
	@script/setup-interop
	@script/setup-system

$(TOOLS): package.json package-lock.json
	script/setup-foundry
	@touch $@

# The whole workspace chooses the features of the dependencies, so that the demo and the tests share what is compiled.
.PHONY: demo
demo: $(TOOLS) ## A local chain, the daemon, a sample service and 20 payers, to the last base unit
	cargo build $(WORKSPACE) --bin weir
	@exec target/debug/weir dev --demo

.PHONY: check
check: $(TOOLS) ## The fast checks: formats, lints, unit tests of the pure crates, published files, tables
	@script/steps \
		'rustfmt=cargo fmt --all --check' \
		'clippy=cargo clippy $(WORKSPACE) --all-targets -- -D warnings' \
		'contracts-lint=script/lint-contracts' \
		'abi=script/publish-abi --check' \
		'vectors=script/write-vectors --check' \
		'trees=script/check-trees' \
		'pure=script/check-pure' \
		'features=script/check-features' \
		'pure-tests=cargo test $(LOCKED) --package weir-core --package weir-protocol --lib' \
		'invariants=script/check-invariants'

# Clippy lints while it compiles, as `cargo clippy` does, but here into binaries that the tests then run: everything is
# compiled once instead of twice. A warning is an error.
.PHONY: test
test: export RUSTC_WORKSPACE_WRAPPER = clippy-driver
test: export CLIPPY_ARGS = -Dwarnings__CLIPPY_HACKERY__
test: ## Everything that has to hold before a change lands; what CI runs
	@script/steps \
		'setup=$(MAKE) --no-print-directory setup' \
		'rustfmt=cargo fmt --all --check' \
		'contracts-lint=script/lint-contracts' \
		'abi=script/publish-abi --check' \
		'vectors=script/write-vectors --check' \
		'trees=script/check-trees' \
		'contracts=script/test-contracts' \
		'gas=script/gas --check' \
		'pure=script/check-pure' \
		'features=script/check-features' \
		'build-and-lint=cargo build $(WORKSPACE) --all-targets' \
		'unit=cargo test $(WORKSPACE) --exclude weir-tests' \
		'end-to-end=cargo test $(WORKSPACE) --test e2e' \
		'interop=script/interop --check' \
		'invariants=script/check-invariants'

.PHONY: deep
deep: $(TOOLS) ## The long campaigns: fuzzing, Slither, coverage, proofs and mutants of the contracts, many more random histories, all clients
	@script/steps \
		'setup=script/setup-interop --all' \
		'contracts=FOUNDRY_PROFILE=deep script/test-contracts' \
		'slither=script/slither' \
		'halmos=script/halmos' \
		'coverage=script/coverage' \
		'tests=WEIR_PROPTEST_CASES=$${WEIR_PROPTEST_CASES:-200000} cargo test $(WORKSPACE)' \
		'interop=cargo build $(WORKSPACE) --bin weir && script/interop --check --all' \
		'mutation=script/mutate'

.PHONY: bench
bench: ## How fast the parts are that a voucher passes, in release, as a table
	@cargo bench $(LOCKED) --package weir-benches | benches/table

.PHONY: deny
deny: ## Licences, advisories and bans of all dependencies; needs cargo-deny
	cargo deny check

.PHONY: clean
clean: ## Remove everything that was built or installed here
	cargo clean
	rm -rf out cache broadcast node_modules tests/interop/node_modules tests/interop/pympp/venv tests/interop/older/*/node_modules tests/interop/mpp-rs/target
