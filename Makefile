# Everything a newcomer types. `make` alone lists it.
SHELL := /bin/bash
PYTHON ?= python3.11
BIN := .venv/bin
LOCK := deploy/requirements.txt
STAMP := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help run demo test lint bench simulate crashes faults storm mutants fuzz lock clean
SEEDS ?= 2000
MINUTES ?= 20
EXECUTIONS ?= 1000000

help:  ## show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

$(STAMP): pyproject.toml uv.lock $(LOCK)
	@if command -v uv >/dev/null 2>&1; then \
		uv sync --quiet --frozen; \
	else \
		python=$$(command -v $(PYTHON) || command -v python3); \
		test -x $(BIN)/python || $$python -m venv .venv; \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(LOCK); \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .; \
	fi
	@touch $(STAMP)

run: $(STAMP)  ## from a fresh checkout to a running service
	@$(BIN)/punctual up

demo: $(STAMP)  ## a scripted story against the sandbox provider
	@$(BIN)/punctual demo

test: $(STAMP)  ## the test suite; brings its own PostgreSQL
	@$(BIN)/python -m pytest -q -n 2 --dist loadgroup tests

lint: $(STAMP)  ## ruff, mypy strict, import contracts
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: $(STAMP)  ## measurements, side by side in one run
	@$(BIN)/python -m tests.bench

simulate: $(STAMP)  ## SEEDS=2000 simulated installations, every fault at every step
	@$(BIN)/python -m tests.simulation --seeds $(SEEDS) --processes 2

crashes: $(STAMP)  ## kill a process at every commit and every external call, once each
	@$(BIN)/python -W ignore -m tests.faults.crash_points

faults: $(STAMP)  ## break database, brokers, provider, clocks, disks, one after the other
	@$(BIN)/python -W ignore -m tests.faults

storm: $(STAMP)  ## all of it at once, for MINUTES=20
	@$(BIN)/python -W ignore -m tests.faults.storm --minutes $(MINUTES)

mutants: $(STAMP)  ## plant bugs and see each found
	@$(BIN)/python -m tests.mutants

fuzz: $(STAMP)  ## EXECUTIONS=1000000 mangled inputs
	@$(BIN)/python -m tests.badinput.fuzz --executions $(EXECUTIONS)

lock:  ## renew the locked dependencies (needs uv)
	uv lock
	uv export --quiet --frozen --no-emit-project --all-groups --format requirements-txt --output-file $(LOCK)

clean:  ## forget the environment and the embedded data
	rm -rf .venv var
