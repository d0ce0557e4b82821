# `make run` and `make test` are all a fresh clone needs: Python 3.11 or newer, make, and the package registry.
PYTHON ?= python3
VENV ?= .venv
ARGS ?=

BIN := $(VENV)/bin
PINNED := pyproject.toml constraints.txt
# A stamp is newer than the pinned files when the installation follows them.
USER_STAMP := $(VENV)/.installed
DEV_STAMP := $(VENV)/.installed-dev

.DEFAULT_GOAL := help
.PHONY: help run test lint slow chaos browser docs site wheel constraints clean

help:  ## this list
	@awk -F ':.*  ## ' '/^[a-z]+:.*  ## / {printf "make %-12s %s\n", $$1, $$2}' Makefile

run: $(USER_STAMP)  ## search on the embedded digits, and write its report; more options: make run ARGS="--rounds 3"
	$(BIN)/diffnas-agent run --preset digits $(ARGS)
	$(if $(filter --dry-run --help -h --db --db=%,$(ARGS)),,$(BIN)/diffnas-agent report)

test: lint  ## everything that must hold before a commit: lint, format, types, fast tests
	$(BIN)/pytest

lint: $(DEV_STAMP)  ## ruff, formatting, mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

slow: $(DEV_STAMP)  ## the tests that train, count, draw or start processes at length
	$(BIN)/pytest -m slow --timeout 1800

chaos: $(DEV_STAMP)  ## the tests that kill processes at random instants
	$(BIN)/pytest -m chaos --timeout 3600 --numprocesses 0

browser: $(DEV_STAMP)  ## the tests that open pages in Debian's chromium, which is installed where it may be
	.ci/check-browser $(BIN)/python

docs: $(DEV_STAMP)  ## write the tables of docs/ that are made from the code
	$(BIN)/python tests/support/documented.py

site: $(DEV_STAMP)  ## build the documentation as a site, warnings as errors: build/site/index.html
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

wheel: $(DEV_STAMP)  ## build the wheel and try it in a fresh environment, from an empty folder
	.ci/check-wheel $(BIN)/python

constraints: $(DEV_STAMP)  ## write constraints.txt from what is installed
	$(BIN)/python -m pip install --quiet --editable '.[anthropic,browser,dev,ollama]'
	.ci/write-constraints $(BIN)/python > constraints.new
	mv constraints.new constraints.txt
	touch $(USER_STAMP) $(DEV_STAMP)

$(BIN)/python:
	@command -v $(PYTHON) > /dev/null || { echo "make: '$(PYTHON)' is not on this machine; name one of 3.11 or newer: make PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: '$(PYTHON)' is $$($(PYTHON) -V 2>&1), but 3.11 or newer is needed; name one: make PYTHON=python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(USER_STAMP): $(PINNED) | $(BIN)/python
	@echo "installing into $(VENV); the first time takes some minutes and 6 GB, most of it torch" >&2
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	@touch $@

$(DEV_STAMP): $(PINNED) | $(BIN)/python
	@echo "installing into $(VENV); the first time takes some minutes and 6 GB, most of it torch" >&2
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@ $(USER_STAMP)

clean:  ## remove what builds and tests left; the environment, runs and memories stay
	rm -rf build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find agent diffusion memory prompts tools tests -name __pycache__ -type d -prune -exec rm -rf {} +
