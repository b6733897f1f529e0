# Needs Python 3.11+ and make, nothing else.  `make` alone lists what there is.
PYTHON ?= python3
BIN := .venv/bin
PORT ?= 4200
# of the tests: one more than there are cores, for much of the suite waits for servers; each takes 1 GB
PROCESSES ?= $(shell $(PYTHON) -c 'import os; print(min(4, 1 + (os.cpu_count() or 1)))')

# What the program reads; a run never reports to anyone
export PREFECT_SERVER_ANALYTICS_ENABLED := false
export DO_NOT_TRACK := 1

.PHONY: help demo test quick torture ui bench lint setup clean
.DEFAULT_GOAL := help

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*  ## /\1\t/p' $(MAKEFILE_LIST) | expand -t 8

demo: .venv/.laudos  ## a made-up hospital and one whole night on it, in ./demo
	$(BIN)/laudos demo --folder demo

ui: .venv/.laudos  ## Prefect's server with every deployment; prints the address, Ctrl-C ends both
	$(BIN)/python -m deployments.ui --port $(PORT)

test: .venv/.dev  ## every test, with branch coverage
	$(BIN)/pytest -n $(PROCESSES) --dist loadgroup --no-loadscope-reorder --cov --cov-report=term

quick: .venv/.dev  ## the tests of less than ten seconds each, without coverage: while one is at work
	$(BIN)/pytest -n $(PROCESSES) --dist loadgroup --no-loadscope-reorder -m "not slow"

lint: .venv/.dev  ## ruff and the strict type checker
	$(BIN)/ruff check .
	$(BIN)/mypy

torture: .venv/.dev  ## everything that a night can do to laudos, at full load, on both databases; an hour or so
	$(BIN)/python -m benchmarks.torture
	$(BIN)/python -m benchmarks.reliability

bench: .venv/.dev  ## the benchmarks one after the other, hours; those that take a day are run by name (RESULTS.md)
	$(BIN)/python -m benchmarks

setup: .venv/.dev  ## .venv with everything, tests and benchmarks included

clean:  ## remove .venv and the demo; laudos-data stays
	rm -rf .venv demo

# Two stamps: whoever only wants the demo need not wait for the test tools
.venv/.laudos: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "laudos needs Python 3.11 or newer; say make PYTHON=/path/to/python")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet -c constraints.txt -e .
	@touch $@

.venv/.dev: .venv/.laudos
	$(BIN)/pip install --quiet -c constraints.txt -e '.[dev,bench,fast,dask]'
	@touch $@
