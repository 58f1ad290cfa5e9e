# make demo         the main job, live, on the embedded default; STAY=1 keeps its web page up
# make demo-nomad   the same on a Nomad: a `nomad` on PATH, or NOMAD_ADDR and NOMAD_TOKEN
# make test         all tests; live suites whose server is missing are listed at the end
# make test-thorough  the same with every case: deaths at all boundaries, large models, soaks
# make check        formatting, lint, types, layers, wording
# make bench        measures; writes docs/performance.md
# make bench-nomad  the same on Nomad
# make bench-scale  a year at 100,000 runs a day in compressed time: half an hour
# make bench-dokploy  50 stacks at once on a real Dokploy (tests/servers/dokploy_live.py), a quarter of an hour
# make soak         kills everything at random for DURATION seconds (60) on ENGINE (local or nomad)
# make docs         renews the generated parts of the reference
# make lock         renews the locked requirements
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TESTS ?= tests
# Most tests wait for a server or a process, so that three workers pay on two cores.
WORKERS ?= 3
# File by file, because fixtures are shared within one; in the order of collection, which begins with
# the long stories, so that the workers end together.
DISTRIBUTED = -n $(WORKERS) --dist loadfile --no-loadscope-reorder

.PHONY: help demo demo-nomad test test-thorough check format bench bench-nomad bench-scale bench-dokploy soak lock docs clean

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

$(STAMP): requirements.lock requirements-dev.lock requirements-axe.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "disinto needs Python 3.11 or newer; name one with make PYTHON=python3.12")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Setting up $(VENV) (once, about a minute) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements-axe.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: $(STAMP)
	@$(BIN)/python -m dispatcher.demo $(if $(STAY),--stay)

demo-nomad: $(STAMP)
	@$(BIN)/python -m dispatcher.demo --scheduler nomad $(if $(STAY),--stay)

test: $(STAMP)
	$(BIN)/python -m pytest $(DISTRIBUTED) $(PYTEST_ARGS) $(TESTS)

test-thorough: $(STAMP)
	DISINTO_THOROUGH=1 $(BIN)/python -m pytest $(DISTRIBUTED) $(PYTEST_ARGS) $(TESTS)

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tests.support.english

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP)
	$(BIN)/python -m bench

bench-nomad: $(STAMP)
	$(BIN)/python -m bench --nomad

bench-scale: $(STAMP)
	$(BIN)/python -m bench --scale

bench-dokploy: $(STAMP)
	$(BIN)/python -m bench --dokploy

soak: $(STAMP)
	$(BIN)/python -m tests.soak --engine $(or $(ENGINE),local) --duration $(or $(DURATION),60) $(SOAK_ARGS)

lock: $(STAMP)
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-emit-index-url --python-version 3.11 --extra web pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-emit-index-url --python-version 3.11 --extra demo --extra trace --extra web --group dev pyproject.toml -o requirements-dev.lock

docs: $(STAMP)
	$(BIN)/python -m dispatcher.cli.reference
	$(BIN)/python -m dispatcher.settings.reference

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
