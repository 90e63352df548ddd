# Everything a newcomer types. `make` alone lists it.
SHELL := /bin/bash
PYTHON ?= python3.11
BIN := .venv/bin
LOCK := deploy/requirements.txt
TOOLS := deploy/requirements-dev.txt
STAMP := .venv/.installed
TOOL_STAMP := .venv/.tools
# Each process would compile everything it imports: seconds of every start.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help run demo test lint bench simulate crashes faults storm tokens mutants fuzz lock clean
PROVIDER ?= recall
SEEDS ?= 2000
WORLDS ?= recall
MINUTES ?= 20
SECONDS ?= 60
EXECUTIONS ?= 1000000

help:  ## show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

# $(1): which lock, $(2): what uv calls it. What is installed already stays.
define install
	@if command -v uv >/dev/null 2>&1; then \
		uv sync --quiet --frozen --inexact $(2); \
	else \
		python=$$(command -v $(PYTHON) || command -v python3); \
		test -x $(BIN)/python || $$python -m venv .venv; \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(1); \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .; \
	fi
	@touch $@
endef

$(STAMP): pyproject.toml uv.lock $(LOCK)
	$(call install,$(LOCK),--no-default-groups)

$(TOOL_STAMP): $(STAMP) $(TOOLS)
	$(call install,$(TOOLS),--all-groups)

run: $(STAMP)  ## from a fresh checkout to a running service
	@$(BIN)/punctual up

demo: $(STAMP)  ## PROVIDER=recall|google|microsoft: a scripted story against the sandbox
	@$(BIN)/punctual demo --provider $(PROVIDER)

test: $(TOOL_STAMP)  ## the test suite; brings its own PostgreSQL
	@$(BIN)/python -m pytest -q -n 2 --dist loadgroup tests

lint: $(TOOL_STAMP)  ## ruff, mypy strict, import contracts
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: $(TOOL_STAMP)  ## measurements, side by side in one run
	@$(BIN)/python -m tests.bench

simulate: $(TOOL_STAMP)  ## SEEDS=2000 simulated installations, WORLDS=recall|accounts, every fault at every step
	@$(BIN)/python -m tests.simulation --worlds $(WORLDS) --seeds $(SEEDS) --processes 2

crashes: $(TOOL_STAMP)  ## kill a process at every commit and every external call, once each
	@$(BIN)/python -W ignore -m tests.faults.crash_points

faults: $(TOOL_STAMP)  ## break database, brokers, provider, clocks, disks, one after the other
	@$(BIN)/python -W ignore -m tests.faults

storm: $(TOOL_STAMP)  ## all of it at once, for MINUTES=20
	@$(BIN)/python -W ignore -m tests.faults.storm --minutes $(MINUTES)

tokens: $(TOOL_STAMP)  ## SECONDS=60 of 20 workers refreshing against node-oidc-provider, and being killed
	@$(BIN)/python -W ignore -m tests.tokens --seconds $(SECONDS)

mutants: $(TOOL_STAMP)  ## plant bugs and see each found
	@$(BIN)/python -m tests.mutants

fuzz: $(TOOL_STAMP)  ## EXECUTIONS=1000000 mangled inputs
	@$(BIN)/python -m tests.badinput.fuzz --executions $(EXECUTIONS)

lock:  ## renew the locked dependencies (needs uv)
	uv lock
	uv export --quiet --frozen --no-emit-project --no-default-groups --format requirements-txt --output-file $(LOCK)
	uv export --quiet --frozen --no-emit-project --all-groups --format requirements-txt --output-file $(TOOLS)

clean:  ## forget the environment and the embedded data
	rm -rf .venv var
