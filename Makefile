# `make demo` and `make test` each make their own virtual environment from a bare Python 3.10+.
PYTHON ?= python3
BIN := .venv/bin
OLDEST := .venv-oldest/bin
BENCH := .venv-bench/bin

.PHONY: demo test lint check test-oldest bench bench-e2e clean

demo: .venv/ready
	$(BIN)/python -m examples.demo $(if $(ONCE),--once)

test: lint check

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/basedpyright
	$(BIN)/python -m tests.public_types

check: .venv/ready
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest $(ARGS)
	$(BIN)/coverage combine -q
	$(BIN)/coverage report

# The oldest versions that pyproject.toml admits.
test-oldest: .venv-oldest/ready
	$(OLDEST)/python -m pytest $(ARGS)

# Prints what promweb costs beside its peers, which are installed here and nowhere else.
# `make bench ARGS="flask quart"` prints some of the tables, ARGS=--strict fails for a missed goal.
bench: .venv-bench/ready
	$(BENCH)/python -m benchmarks $(ARGS)

bench-e2e: .venv-bench/ready
	$(BENCH)/python -m benchmarks.e2e $(ARGS)

.venv/ready: pyproject.toml
	$(call bootstrap,.venv)
	$(BIN)/pip install -q -e '.[flask,quart,cli]' --group dev
	@touch $@

.venv-oldest/ready: pyproject.toml tests/oldest.txt
	$(call bootstrap,.venv-oldest)
	$(OLDEST)/pip install -q -e '.[flask,quart,cli]' --group test -c tests/oldest.txt
	@touch $@

.venv-bench/ready: pyproject.toml benchmarks/peers.txt
	$(call bootstrap,.venv-bench)
	$(BENCH)/pip install -q -e '.[flask,quart]' -r benchmarks/peers.txt
	@touch $@

define bootstrap
@$(PYTHON) -c 'import sys; sys.exit("promweb needs Python 3.10 or newer: make PYTHON=python3.12 ..." if sys.version_info < (3, 10) else 0)'
$(PYTHON) -m venv $(1)
$(1)/bin/python -m pip install -q --upgrade 'pip>=25.1'
endef

clean:
	rm -rf .venv .venv-oldest .venv-bench .coverage* dist build
