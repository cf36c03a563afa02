# `make demo` and `make test` need Python 3.11 or later and nothing else: they set up .venv on first use.
# Another interpreter: make PYTHON=python3.13 test. More for pytest: make test ARGS='-k flock -x'.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
ARGS ?=
MINUTES ?= 30
SAMPLE ?= 160
SEED ?= 1
# Of pytest; a file's tests run in one process, because the blocks of a document go on from each other.
# One more than there are cores, because tests mostly wait for disks, locks and children; 0: in one process.
WORKERS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2) + 1)
PYTEST = $(BIN)/python $(if $(COVERAGE),-m coverage run) -m pytest -n $(WORKERS) --dist loadfile

.PHONY: help demo man venv test test-others test-lowest test-all test-slow coverage torture mutants check lint types layers docs bench \
	bench-quick figures package clean

help:
	@echo "make demo        show plain code losing updates, and storewriter keeping them"
	@echo "make test        the tests, the code in the docs included"
	@echo "make test-all    the same, and most tests on every other Python from 3.11 on (pyenv's, python3.x on the PATH),"
	@echo "                 and with the lowest versions of what is required"
	@echo "make test-slow   the long versions of some tests, for minutes"
	@echo "make coverage    the same, and which branches of the library they take: at least 95 %"
	@echo "make torture     kill and stop writers of every kind for half an hour (MINUTES=30), and check every answer"
	@echo "make mutants     change SAMPLE=160 places of the code, drawn by SEED=1, and see whether the tests notice; for hours"
	@echo "make check       lint, types, layers"
	@echo "make docs        the documentation as a site, in build/docs; every link within it is followed"
	@echo "make man         manual pages of all commands, in man/"
	@echo "make bench       measure beside what others use, half an hour; bench-quick: three to four minutes"
	@echo "make figures     README, docs/benchmarks.md and their pictures once more, from docs/benchmarks/run.json"
	@echo "make package     wheel and sdist of the last commit, in dist/: built twice, compared, tried with each extra"
	@echo "make clean       remove $(VENV), $(VENV)-3.x and what the tools left"

man: $(VENV)/.has-cli
	$(BIN)/python -m storewriter.cli.man_pages man

demo: $(VENV)/.has-cli
	$(BIN)/storewriter demo

test: $(VENV)/.has-test
ifeq ($(COVERAGE),)
	$(PYTEST) $(ARGS)
else
	@rm -rf .coverage && mkdir -m 1777 .coverage  # children that have become another user write there, too
	@$(PYTEST) $(ARGS); code=$$?; \
	$(BIN)/python .ci/branches || code=1; exit $$code
endif

test-others: $(BIN)/python
	ARGS="$(ARGS)" .ci/test-others $(BIN)/python

# The same tests, and the branches of `storewriter` that they take: at least 95 %. Tests that a tracer would disturb, or
# that take long with it and show little more, run without one (`untraced`, in tests/conftest.py). Children that are
# killed leave no figures, which fails nothing.
coverage:
	@$(MAKE) --no-print-directory test COVERAGE=yes

# With the lowest version of everything that pyproject.toml allows, on this Python.
test-lowest: $(BIN)/python
	$(BIN)/python -m venv $(VENV)-lowest
	$(BIN)/python .ci/lowest-versions > $(VENV)-lowest/constraints.txt
	$(VENV)-lowest/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[test]' \
		--constraint $(VENV)-lowest/constraints.txt
	$(VENV)-lowest/bin/python -m pytest -n $(WORKERS) --dist loadfile \
		tests/store tests/locks tests/codecs tests/cli tests/test_public_api.py tests/test_events.py $(ARGS)

test-all: test test-others test-lowest

test-slow: $(VENV)/.has-test
	$(PYTEST) -m slow $(ARGS)

torture: $(VENV)/.has-test
	$(BIN)/python tests/torture --minutes $(MINUTES) $(ARGS)

mutants: $(VENV)/.has-mutants
	$(BIN)/python tests/mutants --sample $(SAMPLE) --seed $(SEED) $(ARGS)

check: lint types layers

lint: $(VENV)/.has-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/python .ci/plain-words src tests benchmarks examples docs *.md

# Without asking whether there is a newer pyright: that would need the network at every run.
types: $(VENV)/.has-lint
	$(BIN)/mypy --strict
	$(BIN)/mypy --config-file tests/mypy.ini
	PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright
	$(BIN)/python -m pytest -q tests/typing

layers: $(VENV)/.has-lint
	$(BIN)/lint-imports

docs: $(VENV)/.has-docs
	$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going --builder html docs build/docs
	$(BIN)/python .ci/site-links build/docs

bench: $(VENV)/.has-bench
	$(BIN)/python -m benchmarks run
	$(BIN)/python -m benchmarks report --publish

bench-quick: $(VENV)/.has-bench
	$(BIN)/python -m benchmarks run --quick
	$(BIN)/python -m benchmarks report

figures: $(VENV)/.has-bench
	$(BIN)/python -m benchmarks report docs/benchmarks/run.json --publish

package: $(BIN)/python
	.ci/packages $(abspath $(BIN)/python)

clean:
	rm -rf build $(VENV) $(VENV)-3.* $(VENV)-lowest .mypy_cache .ruff_cache .import_linter_cache .coverage

venv: $(BIN)/python

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "storewriter needs Python 3.11 or later, and $(PYTHON) is older: make PYTHON=python3.13 ..." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
		{ rm -rf $(VENV); echo "$(PYTHON) cannot make a virtual environment (Debian: apt install python3-venv)" >&2; exit 1; }

# One stamp for each set of extras; a change of pyproject.toml installs anew.
$(VENV)/.has-cli: pyproject.toml | $(BIN)/python
	@echo "Installing into $(VENV) (once) ..."
	@$(PIP) --editable '.[cli]'
	@touch $@

$(VENV)/.has-test: pyproject.toml | $(BIN)/python
	@echo "Installing into $(VENV) (once) ..."
	@$(PIP) --editable '.[test]'
	@touch $(VENV)/.has-cli $@

$(VENV)/.has-lint: pyproject.toml | $(VENV)/.has-test
	@echo "Installing into $(VENV) (once) ..."
	@$(PIP) --editable '.[test,lint]'
	@touch $(VENV)/.has-cli $(VENV)/.has-test $@

$(VENV)/.has-mutants: pyproject.toml | $(VENV)/.has-test
	@echo "Installing into $(VENV) (once) ..."
	@$(PIP) --editable '.[test,mutants]'
	@touch $(VENV)/.has-cli $(VENV)/.has-test $@

$(VENV)/.has-bench: pyproject.toml | $(BIN)/python
	@echo "Installing into $(VENV) (once) ..."
	@$(PIP) --editable '.[bench]'
	@touch $(VENV)/.has-cli $@

$(VENV)/.has-docs: pyproject.toml | $(BIN)/python
	@echo "Installing into $(VENV) (once) ..."
	@$(PIP) --editable '.[docs]'
	@touch $@
