# The developer's commands; `make` or `make help` lists them. Each prepares what it needs (deploy/setup/install.sh).

SHELL := /bin/bash
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test check lint format bench lock docs clean setup setup-python

BIN := .venv/bin

# A folder is tested as soon as it holds tests; the packages themselves for the examples in their docstrings.
FAST_TESTS := $(wildcard tests/unit tests/property) pipeline agents sinks
SLOW_TESTS := $(wildcard tests/integration tests/fault tests/e2e)

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1|\2/' | \
	  while IFS='|' read -r target text; do printf '%-14s %s\n' "$$target" "$$text"; done

demo: setup ## run real input through the whole pipeline; SECONDS=60 ends it by itself, else until Ctrl-C
	@$(BIN)/parityflow demo $(if $(SECONDS),--seconds $(SECONDS))

test: setup check ## everything: `make check`, then integration, fault and end-to-end tests (under 25 minutes)
	$(if $(SLOW_TESTS),$(BIN)/python -m pytest --durations=15 $(SLOW_TESTS))

check: lint ## lint, types, import rules, unit and property tests, doctests (under 2 minutes)
	$(BIN)/python -m pytest --durations=10 $(FAST_TESTS)

lint: setup-python ## ruff, formatting, mypy, import rules
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup-python ## format the code and fix what ruff can fix
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

bench: setup ## measure; writes benchmarks/results/*.json with the machine and versions
	$(BIN)/python -m benchmarks

lock: setup-python ## write requirements.lock anew from pyproject.toml
	deploy/setup/lock.sh

docs: setup-python ## write the README's table of settings anew
	$(BIN)/python -m pipeline.settings_table README.md

clean: ## remove caches and build output; keeps .venv and the state folder (.parityflow)
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build *.egg-info deploy/kafka/target
	find . -path ./.venv -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

setup:
	@deploy/setup/install.sh all

setup-python:
	@deploy/setup/install.sh python
