# The two commands of the README are `make demo` and `make test`; `make help` lists the others.
# The first run makes a virtual environment from the pinned versions, later runs reuse it.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:

VENV ?= .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell for name in python3 python3.11 python3.12 python3.13 python; do \
	if "$$name" -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then echo "$$name"; break; fi; done)
WORKERS ?= 2
PYTEST ?=

export JAX_PLATFORMS ?= cpu
export MPLBACKEND ?= Agg

.PHONY: help demo test long thorough lint types audit docs examples wheel clean

help:  ## Lists the commands
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 20

$(BIN)/python:
	@if [ -z "$(PYTHON)" ]; then echo "expected Python 3.11 or later with its venv module, got none on PATH; install it, or name it: make PYTHON=/path/to/python" >&2; exit 1; fi
	@echo "Setting up $(VENV) with $$($(PYTHON) --version) (once, a few minutes)"
	@$(PYTHON) -m venv $(VENV)

# One stamp for each set of extras: `run` is the plain installation.
$(VENV)/.stamp-%: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing releo-jax ($*) with the versions of constraints.txt"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.$(if $(filter run,$*),,[$*])'
	@touch $@

DEMO := demo
demo: $(VENV)/.stamp-run  ## Simulates a scene, inverts it, draws and scores the maps
	@mkdir -p $(DEMO)
	$(BIN)/releo simulate $(DEMO)/scene.nc --seed 1 --overwrite
	$(BIN)/releo invert $(DEMO)/scene.nc -o $(DEMO)/maps.nc --variables lai,ccc,cwc,fapar,fcover --overwrite
	$(BIN)/releo plot $(DEMO)/maps.nc -o $(DEMO)/figures
	$(BIN)/releo score $(DEMO)/maps.nc $(DEMO)/scene.nc

# In their order, the file that takes longest is not the last one.
test: $(VENV)/.stamp-test  ## Runs the test suite (PYTEST="-k leaf" narrows it)
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --durations 10 -m "not long and not thorough" $(PYTEST)

long: $(VENV)/.stamp-test  ## Runs the tests that take long: processes, kills, whole images, small trainings
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal --durations 10 -m "long and not thorough" $(PYTEST)

thorough: $(VENV)/.stamp-test  ## Runs those that take longest: whole trainings, long chains, calibration on many pixels
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal --durations 10 -m thorough $(PYTEST)

lint: $(VENV)/.stamp-dev  ## Checks style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.stamp-dev  ## Checks types
	$(BIN)/mypy

audit: $(VENV)/.stamp-dev  ## Asks for known vulnerabilities of the dependencies
	VENV=$(VENV) .ci/audit

docs: $(VENV)/.stamp-docs  ## Builds the documentation into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

examples: $(VENV)/.stamp-run  ## Executes every example
	@printf '%s\n' examples/*.py | xargs -n 1 -P $(WORKERS) sh -c \
		'if said=$$($(BIN)/python "$$0" 2>&1); then failed=0; else failed=1; fi; printf "== %s\n%s\n" "$$0" "$$said"; exit $$failed'

wheel: $(VENV)/.stamp-run  ## Builds the wheel into dist/
	@mkdir -p dist && rm -f dist/*.whl
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .
	@ls -l dist/*.whl

clean:  ## Removes what the commands wrote (the virtual environment stays)
	rm -rf $(DEMO) site dist build figures .cache .pytest_cache .mypy_cache .ruff_cache
	find physics releo_jax tests benchmarks examples -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
