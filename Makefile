# The two commands of the README, and what a change is checked with. `make help` lists them.
# Any Python from 3.11 on does: make test PYTHON=python3.13 VENV=.venv313

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help sweep test check bench paper format docs clean
.DEFAULT_GOAL := help

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

sweep: $(READY)  ## try it: seven request rates against the embedded simulator, two minutes
	@$(BIN)/loadgen sweep --rates 1..64

test: $(READY)  ## all tests
	@$(BIN)/python -m pytest

check: $(READY)  ## format, lint, types, architecture and documents
	@$(BIN)/ruff format --check --quiet . || { echo "Some files are not formatted: make format" >&2; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/python -m pytest tests/test_tidy.py tests/test_docs.py

bench: $(READY)  ## our own cost and accuracy against a server of known timing
	@$(BIN)/python benchmarks/accuracy.py

paper: $(READY)  ## the paper's serving curves again, simulated: docs/results/paper.md, three minutes
	@$(BIN)/python examples/paper.py
	@$(BIN)/python examples/paper_sockets.py

format: $(READY)  ## put the code in order
	@$(BIN)/ruff format --quiet .
	@$(BIN)/ruff check --quiet --fix .

docs: $(READY)  ## write docs/cli.md again
	@$(BIN)/python tests/test_docs.py

clean:  ## remove the virtual environment and everything that is made again
	@rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Installed once; again when a dependency changes.
$(READY): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { \
	  echo "loadgen needs Python 3.11 or newer, and there is no $(PYTHON): sudo apt install python3 python3-venv" >&2; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "loadgen needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) --version 2>&1)." \
	       "Debian 12 has one: sudo apt install python3 python3-venv. Another one: make PYTHON=python3.12" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "This Python has no venv module: sudo apt install python3-venv" >&2; exit 2; }
	@echo "Setting up $(VENV) (once) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@
