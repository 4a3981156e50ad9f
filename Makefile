# `make run` and `make test` work as the first command in a fresh clone: each makes .venv when it is missing or
# pyproject.toml or constraints.txt has changed, and reuses it otherwise. `run` installs the programs and the
# dashboard, the others also what the tests need (PostgreSQL's driver, Dask, Ray, an S3 stand-in, …), which
# takes longer. All versions are those of constraints.txt, which the tests passed with.
# On Linux, PyPI's torch brings 3 GB for NVIDIA GPUs. Without one:
#     PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu make run
PYTHON ?= python3
BIN := .venv/bin
SUM := $(shell cat pyproject.toml constraints.txt | cksum | cut -d' ' -f1)
RUN := .venv/.run-$(SUM)
DEV := .venv/.dev-$(SUM)
# Packages are not compiled when they are installed, which would be half of the time: Python compiles what it imports
PIP := $(BIN)/pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt

.PHONY: run test test-all test-slow coverage check docs pictures constraints lock bench bench-scale clean
.DEFAULT_GOAL := run

# A new pip chooses the versions in a third of the time of the one that comes with Python 3.11
.venv/bin/python:
	$(PYTHON) -m venv .venv
	$(PIP) --upgrade pip

$(RUN): | .venv/bin/python
	PYTHONWARNINGS=ignore $(PIP) -e '.[model,dashboard]'
	@touch $@

# Compiled on all cores: tests start a thousand processes
$(DEV): | .venv/bin/python
	PYTHONWARNINGS=ignore $(PIP) -e '.[dev,docs]'
	@$(BIN)/python -m compileall -qq -j 0 .venv/lib || true  # some packages have templates of code
	@touch $@ $(RUN)

# Where the variable is set, each process would compile for itself
run: export PYTHONDONTWRITEBYTECODE =
run: $(RUN)
	$(BIN)/tuner tour

# The tests that end in five minutes on two idle cores: all but those that are marked slow. Compiled before: they start
# a thousand processes, and where PYTHONDONTWRITEBYTECODE is set each would compile for itself
test: CHOSEN = -m 'not slow'
test: WORKERS = 2
test test-all test-slow: $(DEV)
	@$(BIN)/python -m compileall -q tuner model ensemble inference
	$(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(CHOSEN) $(MEASURED)

# The slow ones, a third of their files by the day of the year: three days cover all. They often wait for processes
WORKERS = 3
test-slow: CHOSEN = -m slow --part $(shell echo $$(( $$(date +%-j) % 3 + 1 )))/3

# All tests in half as much time again; then the share of the engine's lines that ran, and its files below 85 %
coverage: MEASURED = --cov --cov-report=
coverage: test-all
	@$(BIN)/coverage report | awk '/^tuner/ && $$NF + 0 < 85 { print "below 85 %:", $$1, $$NF } \
	  /^TOTAL/ { print "coverage of tuner/:", $$NF }'

check: $(DEV)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# The documentation as a site, in build/site; a broken link ends it. The pages for reference are written before
docs: $(DEV)  # not --quiet, with which mkdocs lets broken links pass
	$(BIN)/python docs/write_reference.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

# The pictures of README and docs, from a run of the guided demo (about a minute; needs chromium)
pictures: $(DEV)
	$(BIN)/python docs/pictures.py

# Writes the versions that are installed now: after an update of packages and a `make test` that passed
constraints: $(DEV)
	@( echo '# The versions, direct and transitive, that the tests passed with. Made by: make constraints'; \
	  $(BIN)/pip freeze --exclude-editable --exclude optuna-sweeps | grep '^[A-Za-z0-9._-]*==' | \
	  sed 's/+.*//' | LC_ALL=C sort -f ) > constraints.new && mv constraints.new constraints.txt

# The same versions with the hashes of their files on PyPI, for all systems: what `.[model,dashboard]` needs
lock:
	$(PYTHON) -m venv build/uv && build/uv/bin/pip install --quiet uv
	build/uv/bin/uv pip compile --quiet pyproject.toml -c constraints.txt --extra model --extra dashboard \
	  --universal --generate-hashes --no-annotate --custom-compile-command 'make lock' -o requirements.lock

bench: $(DEV)
	@for f in $(filter-out %/bench_scale.py,$(wildcard benchmarks/bench_*.py)); do \
		echo "== $$f"; $(BIN)/python $$f || exit 1; done

# 5,000 trials on PostgreSQL, 32 hosts that come and go: prints the tables of docs/benchmarks.md
bench-scale: $(DEV)
	$(BIN)/python benchmarks/bench_scale.py

clean:
	rm -rf .venv build results *.egg-info .pytest_cache .mypy_cache .ruff_cache .coverage*
