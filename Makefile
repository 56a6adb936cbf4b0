# Needs Python >= 3.11 with venv, and make. Everything else is installed into .venv by `make env`.

SHELL := /bin/sh
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.poseshift-env
# 3.11 first: requirements/dev.txt is tested with it. `make env PYTHON=/path/to/python` takes another.
PYTHONS := $(PYTHON) python3.11 python3.12 python3.13 python3.14 python3 python
SUITABLE := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))

OUT ?= runs/demo
ARGS ?=
demo_args = $(if $(filter-out 0,$(QUICK)),--quick) $(ARGS)

.PHONY: help env demo test check format docs lock clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

env: $(STAMP) ## set up .venv with pinned, hashed dependencies (once)

$(STAMP): requirements/dev.txt pyproject.toml
	@python=; for candidate in $(PYTHONS); do \
	  if "$$candidate" -c '$(SUITABLE)' >/dev/null 2>&1; then python=$$candidate; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "make env: found no Python >= 3.11 with venv among: $(PYTHONS); install one, or name it: make env PYTHON=/path/to/python3.11" >&2; exit 2; \
	fi; \
	echo "Setting up $(VENV) with $$("$$python" --version) (about 6 GB, some minutes) ..."; \
	"$$python" -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: $(STAMP) ## the main job on generated images: runs/demo/report.html (QUICK=1 for the short one)
	$(BIN)/poseshift demo --out $(OUT) $(demo_args)

test: $(STAMP) ## all tests (ARGS="-k name" for some)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(ARGS)

check: $(STAMP) ## format, lint, types, floors, spelling, house rules, docs
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	PYTHONPATH=src $(BIN)/lint-imports
	$(BIN)/codespell
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 0 tests/test_house.py
	$(MAKE) --no-print-directory docs

format: $(STAMP) ## write the format, and mend what ruff can
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

docs: $(STAMP) ## build the documentation into docs/_build; a warning is an error
	$(BIN)/python -m sphinx -q -W --keep-going -b html docs docs/_build

# --no-header and --no-emit-index-url keep hosts and paths of the machine out of the file.
lock: $(STAMP) ## resolve requirements/dev.txt anew from pyproject.toml
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	  --extra dev --extra docs --constraint requirements/pins.in --output-file requirements/dev.txt pyproject.toml

clean: ## remove what was built (not .venv, not runs)
	rm -rf build dist docs/_build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find src tests benchmarks -type d -name __pycache__ -prune -exec rm -rf {} +
