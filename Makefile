# make demo | demo-serve | test [COVERAGE=--cov] | test-slow | check | docs | bench. The environment in .venv is rebuilt only when its ingredients change.
PYTHON ?= python3
JOBS ?= 2
COVERAGE ?=
BIN := .venv/bin
INGREDIENTS := pyproject.toml constraints.txt
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
export NUMBA_CACHE_DIR ?= $(CURDIR)/.cache/numba

.PHONY: demo demo-serve test test-slow check docs bench clean

demo: .venv/.stamp-core
	$(BIN)/landbridge demo

demo-serve: .venv/.stamp-serve
	$(BIN)/landbridge demo --serve

test: .venv/.stamp-test
	$(BIN)/python -m pytest -n $(JOBS) $(COVERAGE)

test-slow: .venv/.stamp-test
	$(BIN)/python -m pytest -n 0 -m slow

check: .venv/.stamp-check
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy --config-file tests/mypy.ini tests
	$(BIN)/lint-imports

docs: .venv/.stamp-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: .venv/.stamp-bench
	$(BIN)/python -m benchmarks

clean:
	rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/.stamp-core: $(INGREDIENTS) | .venv/bin/python
	$(INSTALL) -e .
	touch $@

.venv/.stamp-%: $(INGREDIENTS) | .venv/bin/python
	$(INSTALL) -e '.[$*]'
	touch $@
