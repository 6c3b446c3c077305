# Each target makes the virtual environment that it needs from a bare Python 3.10+.
PYTHON ?= python3
BIN := .venv/bin
DEMO := .venv-demo/bin
OLDEST := .venv-oldest/bin
NEWEST := .venv-newest/bin
BENCH := .venv-bench/bin
AUDIT := .venv-audit/bin
DOCS := .venv-docs/bin
RELEASE := .venv-release/bin
COMPARISON := .venv-comparison/bin
COMPATIBILITY := .venv-compatibility/bin
# Notices of a newer pip and warnings about a machine's package indexes say nothing about promweb. pip
# adds this to -q, so it prints errors only.
export PIP_DISABLE_PIP_VERSION_CHECK ?= 1
export PIP_QUIET ?= 1
export SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null || echo 1577836800)

.PHONY: demo test quick lint check test-oldest test-newest test-python test-freethreaded bench bench-e2e bench-instructions wheel licences audit clean attack explore soak docs comparison compatibility messages uwsgi release-check

demo: .venv-demo/ready
	$(DEMO)/python -m examples.demo $(if $(ONCE),--once)

test: lint check

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m codespell_lib
	$(BIN)/mypy
	$(BIN)/basedpyright
	$(BIN)/python -m tests.project.public_types

# uWSGI, which needs a C compiler. Without it `make test` skips the tests of uWSGI.
uwsgi: .venv/uwsgi

# Test files run side by side; each file starts its servers once for all of its tests.
# tests/conftest.py orders the files. `make test` has a process for each core, because most of what it
# runs starts servers. The others have one more, because tests wait.
JOBS ?= auto
quick test-oldest test-newest test-python: JOBS = $(shell $(PYTHON) -c 'import os; print(1 + os.cpu_count())')
SIDE_BY_SIDE = -n $(JOBS) --dist loadfile --no-loadscope-reorder
check: .venv/ready
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest $(SIDE_BY_SIDE) $(ARGS)
	$(BIN)/coverage combine -q
	$(BIN)/coverage report

# Most tests, within four minutes on two cores: without servers, browsers, and what takes long.
MARKERS := not slow and not browser and not servers
quick: .venv/ready
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) -m '$(MARKERS)' $(ARGS)

# The oldest versions that pyproject.toml admits. The model, tests with servers, browsers and
# terminals, and those of rules, words and benchmarks, which no old version changes, take long and
# run with the newest versions only.
test-oldest: .venv-oldest/ready
	$(OLDEST)/python -m pytest $(SIDE_BY_SIDE) $(addprefix --ignore=tests/,$(NEWEST_ONLY)) $(ARGS)

NEWEST_ONLY := multiprocess/test_containers.py multiprocess/test_ports.py multiprocess/test_servers.py multiprocess/test_start_up.py \
	live/test_page.py project/test_benchmarks.py project/test_comparison.py project/test_fleet.py project/test_prometheus.py \
	project/test_words.py quart/test_endings.py server/test_proxies.py stress/model stress/faults/test_greenlets.py \
	tools/test_monitoring.py tools/test_monitoring_prometheus.py tools/test_testing.py tools/test_top.py

# The newest frameworks, on a Python that they run on: Quart 0.23 needs 3.13. Here is what depends
# on their versions; `make test` has the rest.
test-newest:
	$(if $(PYTHON_NEWEST),$(MAKE) .venv-newest/ready,@echo 'test-newest is skipped: there is no Python 3.13')
	$(if $(PYTHON_NEWEST),$(NEWEST)/python -m pytest $(SIDE_BY_SIDE) -k 'not (test_model and (flask or second))' $(ON_NEWEST) $(ARGS))

# pyenv keeps versions that are not on the path.
PYENV_ROOT ?= $(HOME)/.pyenv
find_python = $(shell for python in $(foreach version,$(1), \
	python$(version) $(PYENV_ROOT)/versions/$(version).*/bin/python); \
	do $$python -c '' 2>/dev/null && echo $$python && break; done)
PYTHON_NEWEST ?= $(call find_python,3.13)
ON_NEWEST := $(addprefix tests/,behaviour connexion flask quart live/test_routes.py server/test_http.py \
	project/test_documents.py project/test_examples.py stress/attacks stress/faults stress/model \
	project/test_benchmarks.py::test_a_table_of_requests_has_bare_the_null_control_and_promweb)

# Runs `make quick` on another Python, with the newest versions that it has:
# `make test-python PYTHON=python3.14`. With MARKERS= it is the whole suite.
OTHER = .venv-$(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2] + sys.abiflags)')
test-python:
	$(MAKE) $(OTHER)/ready
	$(OTHER)/bin/python -m pytest $(SIDE_BY_SIDE) -m '$(MARKERS)' $(ARGS)

# The same on a Python without the GIL, and the stress of threads: `make test-freethreaded
# PYTHON=python3.13t`. It installs what has wheels, or builds without Rust.
test-freethreaded:
	$(MAKE) $(OTHER)/without-gil
	PYTHON_GIL=0 $(OTHER)/bin/python -m pytest $(SIDE_BY_SIDE) -m '$(MARKERS)' $(ARGS)
	PYTHON_GIL=0 $(OTHER)/bin/python -m tests.stress.threads

# A million hostile requests to each framework, or `make attack REQUESTS=10000`; fails if they leave
# something behind.
attack: .venv/ready
	$(BIN)/python -m tests.stress.attacks.million $(if $(REQUESTS),--requests=$(REQUESTS))

# Random programs with new seeds, compared with the model: ten minutes, or SECONDS=60. SEED=1 repeats
# the programs of a seed. Each finding becomes a test.
explore: .venv/ready
	$(BIN)/python -m tests.stress.model $(if $(SECONDS),--seconds=$(SECONDS)) $(if $(SEED),--seed=$(SEED))

# Ten minutes of load over real servers, or one, start and end included, with ONCE=1; fails if a
# request is not accounted for.
soak: .venv/ready
	$(BIN)/python -m tests.stress.soak $(if $(ONCE),--seconds=50)

# Prints what promweb costs beside its peers, which are installed here and nowhere else, and whether
# each bound held. `make bench ARGS="flask quart"` prints some of the tables, ARGS=--strict fails
# for a missed bound.
bench: .venv-bench/ready
	$(BENCH)/python -m benchmarks $(ARGS)

bench-e2e: .venv-bench/ready
	$(BENCH)/python -m benchmarks.e2e $(ARGS)

# The same for instructions, which valgrind counts: a quarter of an hour, whatever else runs.
bench-instructions: .venv-bench/ready
	$(BENCH)/python -m benchmarks.instructions $(ARGS)

# The documents as a site, in build/site. A warning is an error, and so is what Chromium and axe find
# on the pages.
docs: .venv-docs/ready
	NO_MKDOCS_2_WARNING=1 $(DOCS)/mkdocs build --strict
	$(DOCS)/python -m tests.project.pages build/site

# Compares promweb with its peers. If the result differs from docs/comparison.md, the test suite
# fails: copy it there.
comparison: .venv-comparison/ready
	mkdir -p build
	$(COMPARISON)/python -m tests.project.comparison > build/comparison.md
	cp build/comparison.md tests/project/comparison/printed.md
	cat tests/project/comparison/printed.md

# Extensions of Flask and Quart beside promweb, in an environment of their own. It prints the tables of
# docs/compatibility.md, and fails where they are not what that page says: copy them there.
compatibility: .venv-compatibility/ready
	$(COMPATIBILITY)/python -W ignore -m tests.compatibility
	$(COMPATIBILITY)/python -m pytest -W default --confcutdir tests/compatibility tests/compatibility $(ARGS)

# docs/messages.md, from the source. The test suite fails where the page is not that.
messages: .venv/ready
	mkdir -p build
	$(BIN)/python -m tests.project.messages > build/messages.md
	cp build/messages.md docs/messages.md

# The same sources make the same wheel, whatever their dates and their permissions are.
wheel: .venv/ready
	rm -rf dist build/again
	mkdir -p dist build/again
	(umask 077; cp -R pyproject.toml README.md LICENSE promweb build/again)
	$(BIN)/pip wheel -q --no-deps -w dist .
	$(BIN)/pip wheel -q --no-deps -w build/again/dist ./build/again
	cmp dist/*.whl build/again/dist/*.whl
	$(BIN)/python -c 'import hashlib, sys; [print(hashlib.sha256(open(p, "rb").read()).hexdigest(), p) for p in sys.argv[1:]]' dist/*.whl

# Checks a release: both distributions are built, checked, and installed on the oldest and the
# newest Python, where README's quick start runs.
PYTHONS_OF_RELEASE ?= $(or $(call find_python,3.10),python3.10) $(call find_python,3.14 3.13)
release-check: .venv-release/ready
	rm -rf dist
	$(RELEASE)/python -m build -q --outdir dist
	$(RELEASE)/twine check --strict dist/*
	$(RELEASE)/check-wheel-contents dist/*.whl
	$(RELEASE)/validate-pyproject pyproject.toml
	$(RELEASE)/python -W error -m tests.project.release dist $(PYTHONS_OF_RELEASE)

# The packages that promweb installs: their licences, and (with a network) known vulnerabilities.
licences: build/runtime/ready
	$(AUDIT)/python -m tests.project.audit build/runtime --licences

audit: build/runtime/ready
	$(AUDIT)/python -m tests.project.audit build/runtime

build/runtime/ready: pyproject.toml
	$(call bootstrap,.venv-audit,pip-audit)
	$(AUDIT)/pip install -q pip-audit
	rm -rf build/runtime
	$(AUDIT)/pip install -q --target build/runtime '.[flask,quart,cli]'
	@touch $@

.venv-demo/ready: pyproject.toml
	$(call bootstrap,.venv-demo,promweb with Flask and Quart (some 40 MB))
	$(DEMO)/pip install -q -e '.[flask,quart]' --group demo
	@touch $@

.venv/ready: pyproject.toml
	$(call bootstrap,.venv,promweb with its tests and linters)
	$(BIN)/pip install -q -e '.[flask,quart,cli]' --group dev
	@touch $@

.venv/uwsgi: .venv/ready
	@echo 'Building uWSGI, which needs a C compiler.'
	$(BIN)/pip install -q --group uwsgi
	@touch $@

.venv-oldest/ready: pyproject.toml tests/oldest.txt
	$(call bootstrap,.venv-oldest,the oldest versions that promweb supports)
	$(OLDEST)/pip install -q -e '.[flask,quart,cli]' --group test -c tests/oldest.txt
	@touch $@

.venv-newest/ready: pyproject.toml
	$(call bootstrap,.venv-newest,the newest versions that promweb supports,$(PYTHON_NEWEST))
	$(NEWEST)/pip install -q -e '.[flask,quart,cli]' --group test --group servers
	@touch $@

.venv-3.%/ready: pyproject.toml
	$(call bootstrap,$(@D),the newest versions that promweb supports)
	$(@D)/bin/pip install -q --prefer-binary -e '.[flask,quart,cli]' --group test --group servers
	@touch $@

.venv-3.%/without-gil: pyproject.toml
	$(call bootstrap,$(@D),what the tests need that a Python without the GIL can have)
	$(@D)/bin/pip install -q --prefer-binary -e '.[flask,quart]' --group without-gil
	@touch $@

.venv-bench/ready: pyproject.toml benchmarks/peers.txt
	$(call bootstrap,.venv-bench,promweb and its peers)
	$(BENCH)/pip install -q -e '.[flask,quart]' -r benchmarks/peers.txt
	@touch $@

.venv-comparison/ready: pyproject.toml tests/project/comparison/peers.txt
	$(call bootstrap,.venv-comparison,promweb and its peers)
	$(COMPARISON)/pip install -q -e '.[flask,quart]' -r tests/project/comparison/peers.txt
	@touch $@

.venv-compatibility/ready: pyproject.toml
	$(call bootstrap,.venv-compatibility,promweb and extensions of Flask and Quart)
	$(COMPATIBILITY)/pip install -q -e '.[flask,quart]' --group compatibility
	@touch $@

.venv-docs/ready: pyproject.toml
	$(call bootstrap,.venv-docs,what makes the documentation site)
	$(DOCS)/pip install -q --group docs
	@touch $@

.venv-release/ready: pyproject.toml
	$(call bootstrap,.venv-release,what checks a release)
	$(RELEASE)/pip install -q --group release
	@touch $@

# A virtual environment: its directory, what goes into it, and the Python unless it is PYTHON.
define bootstrap
@$(or $(3),$(PYTHON)) -c 'import sys; sys.exit("promweb needs Python 3.10 or newer: make PYTHON=python3.12 ..." if sys.version_info < (3, 10) else 0)'
@echo 'Installing $(2) into $(1).'
@$(or $(3),$(PYTHON)) -m venv $(1)
@$(1)/bin/python -m pip install -q --upgrade 'pip>=25.1'
endef

clean:
	rm -rf .venv .venv-3.* .venv-demo .venv-oldest .venv-newest .venv-bench .venv-audit .venv-docs .venv-comparison .venv-compatibility .venv-release .coverage* dist build
