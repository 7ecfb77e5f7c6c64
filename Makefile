# The same targets are run by people and by CI.
PYTHON ?= python3
VENV := .venv
# tests wait for processes and clocks more than they compute
JOBS ?= 4
BIN := $(VENV)/bin
# the machine's own npm, or else the one that pip put beside python
export PATH := $(PATH):$(CURDIR)/$(BIN)
export MLFLOW_DISABLE_TELEMETRY ?= true
export PIP_DISABLE_PIP_VERSION_CHECK ?= 1

.DEFAULT_GOAL := help
.PHONY: help setup tour test soak lint types bench docs clean constraints browser

help:  ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

setup: $(VENV)/.ready  ## make .venv with everything that the other targets need

$(VENV)/.ready: pyproject.toml constraints.txt extension/package-lock.json $(wildcard extension/src/* extension/src/views/*)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; name one: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@echo "setup: virtual environment in $(VENV)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
	  { echo "python's venv module is missing; on Debian: apt-get install python3-venv"; exit 1; }
	@echo "setup: installing packages (a minute or two; longer the first time)"
	@$(BIN)/python -m pip install -q -c constraints.txt 'pip>=25.1'
	@$(BIN)/python -m pip install -q -c constraints.txt -e '.[environments,keyring,onnx,tour,postgresql,xgboost]' --group dev
	@touch $@

tour: setup  ## run the main job on real data and say where to look
	@$(BIN)/python notebooks/tour.py

lint: setup  ## style, types, import contracts
	@echo "lint: ruff";          $(BIN)/ruff check .
	@echo "lint: ruff format";   $(BIN)/ruff format --check .
	@echo "lint: mypy";          $(BIN)/mypy
	@echo "lint: import-linter"; $(BIN)/lint-imports --no-cache
	@echo "lint: TypeScript";    npm --prefix extension run --silent check

test: lint  ## everything: style, types, contracts, unit, integration, notebooks, browser
	@npm --prefix extension run --silent test
	@$(BIN)/python -m pytest -n $(JOBS) --dist loadgroup --durations 25

soak: setup  ## the long form of tests: kills, swaps, outages under load; null windows of drift
	@$(BIN)/python -m pytest tests/faults tests/deployment/test_rollout.py \
	  tests/deployment/test_following.py tests/test_calibration.py --soak -o timeout=3600 -q

bench: setup  ## measure side by side with peers; writes benchmarks/results
	@$(BIN)/python -m benchmarks

docs: setup  ## write the reference of verbs from their --help
	@$(BIN)/python -m mlops_magics.cli.reference docs/verbs.md

constraints: setup  ## pin the development versions anew
	@$(BIN)/python -m pip freeze --exclude-editable --all | grep -E '^[A-Za-z0-9._-]+==' | sort -f > constraints.txt

clean:  ## remove what the targets made (not your own workspaces)
	@rm -rf output build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
