# `make run` and `make test` work as the first command in a fresh clone: each makes .venv when it is
# missing or older than pyproject.toml, and reuses it otherwise.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed-$(shell cksum < pyproject.toml | cut -d' ' -f1)

.PHONY: run test check bench clean
.DEFAULT_GOAL := run

$(STAMP):
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]'
	@rm -f .venv/.installed-* && touch $@

run: $(STAMP)
	$(BIN)/python -m tuner tour

test: $(STAMP)
	$(BIN)/pytest -n 2 --dist loadfile

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(STAMP)
	@for f in benchmarks/bench_*.py; do echo "== $$f"; $(BIN)/python $$f || exit 1; done

clean:
	rm -rf .venv build results *.egg-info .pytest_cache .mypy_cache .ruff_cache
