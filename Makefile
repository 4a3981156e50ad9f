# `make run` and `make test` work as the first command in a fresh clone: each makes .venv when it is
# missing or older than pyproject.toml, and reuses it otherwise. `run` installs the program alone, the others
# also what its tests need (PostgreSQL's driver, Dask, Ray, an S3 stand-in, …), which takes longer.
PYTHON ?= python3
BIN := .venv/bin
SUM := $(shell cksum < pyproject.toml | cut -d' ' -f1)
RUN := .venv/.run-$(SUM)
DEV := .venv/.dev-$(SUM)
PIP := $(BIN)/pip install --quiet --disable-pip-version-check

.PHONY: run test check bench bench-scale clean
.DEFAULT_GOAL := run

.venv/bin/python:
	$(PYTHON) -m venv .venv

$(RUN): | .venv/bin/python
	$(PIP) -e .
	@touch $@

$(DEV): | .venv/bin/python
	$(PIP) -e '.[dev]'
	@touch $@ $(RUN)

run: $(RUN)
	$(BIN)/python -m tuner tour

test: $(DEV)
	$(BIN)/pytest -n 2 --dist loadfile

check: $(DEV)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(DEV)
	@for f in $(filter-out %/bench_scale.py,$(wildcard benchmarks/bench_*.py)); do \
		echo "== $$f"; $(BIN)/python $$f || exit 1; done

# 5,000 trials on PostgreSQL, 32 hosts that come and go: prints the tables of docs/scaling.md
bench-scale: $(DEV)
	$(BIN)/python benchmarks/bench_scale.py

clean:
	rm -rf .venv build results *.egg-info .pytest_cache .mypy_cache .ruff_cache
