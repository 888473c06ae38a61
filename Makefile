# Needs Python 3.11 or newer, make, and access to the Python package index. Everything goes into .venv and build/, except
# Chromium: where there is none, `make test` installs Debian's with apt-get.

PYTHON ?= $(if $(shell python3.11 --version 2>/dev/null),python3.11,python3)
WORKERS ?= 2
SENSITIVITY := digits_mlp fashion_mlp modadd

VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install -qq --disable-pip-version-check --constraint constraints.txt

.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:

.PHONY: help
help: ## print this list
	@echo "make TARGET [PYTHON=python3.12] [WORKERS=2]"
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' Makefile

.PHONY: demo
demo: $(VENV)/.demo ## install, then run the whole method on an embedded model; prints where the page is
	@$(BIN)/libasis demo --out build/demo --force

.PHONY: test
test: $(VENV)/.test ## install, then check style and types and run every test
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/pyright --pythonpath $(BIN)/python
	@sh tests/report/browser/install.sh
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS)

.PHONY: results
results: $(VENV)/.results ## run every experiment and write docs/results.md; hours, but goes on where it was stopped
	@echo "About eight hours of one core and 6 GB of memory where all data are there; what is done is kept, and a run"
	@echo "that was stopped goes on. Experiments whose data are not there are passed over and keep their tables."
	@OMP_NUM_THREADS=1 $(BIN)/libasis compare experiments/*.toml --out build/results
	@OMP_NUM_THREADS=1 $(BIN)/libasis sensitivity $(SENSITIVITY:%=experiments/%.toml) --out build/results
	@OMP_NUM_THREADS=1 $(BIN)/python experiments/language_branches.py
	@OMP_NUM_THREADS=1 $(BIN)/python experiments/language_edges.py
	@OMP_NUM_THREADS=1 $(BIN)/python experiments/superposition.py
	@$(BIN)/python experiments/write_results.py

.PHONY: simulation
simulation: $(VENV)/.test ## try verification on models whose causes are known and write the tables of docs/verification.md
	@OMP_NUM_THREADS=1 $(BIN)/python experiments/simulate_verification.py --processes $(WORKERS)

.PHONY: zoo
zoo: $(VENV)/.test ## try every way of writing a model and write docs/models.md; goes on where it was stopped
	@OMP_NUM_THREADS=1 $(BIN)/python -m tests.zoo --mark

.PHONY: site
site: $(VENV)/.site ## build the documentation site into build/site, with live pages; open build/site/index.html
	@OMP_NUM_THREADS=1 $(BIN)/libasis demo modadd --out build/gallery/modadd --force
	@OMP_NUM_THREADS=1 $(BIN)/libasis demo digits --out build/gallery/digits --force
	@NO_MKDOCS_2_WARNING=1 PYTHONWARNINGS=ignore $(BIN)/mkdocs build --quiet
	@echo "The site is in build/site/index.html"

.PHONY: clean
clean: ## remove .venv and all that was built
	@rm -rf $(VENV) build dist .pytest_cache .ruff_cache .hypothesis
	@find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.torch: constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "libasis needs Python 3.11 or newer, but $(PYTHON) is not: make PYTHON=python3.12 ..." >&2; exit 1; }
	@echo "Making $(VENV) with $(PYTHON) and installing torch; this takes a few minutes the first time."
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@$(INSTALL) torch==2.13.0
	@touch $@

$(VENV)/.demo: $(VENV)/.torch pyproject.toml
	@echo "Installing libasis with what the demo needs."
	@$(INSTALL) --editable ".[demo]"
	@touch $@

$(VENV)/.site: $(VENV)/.torch pyproject.toml
	@echo "Installing libasis with what the site needs."
	@$(INSTALL) --editable ".[demo,site]"
	@touch $@

$(VENV)/.results: $(VENV)/.torch pyproject.toml
	@echo "Installing libasis with what the experiments need."
	@$(INSTALL) --editable ".[experiments]"
	@touch $@

$(VENV)/.test: $(VENV)/.torch pyproject.toml
	@echo "Installing libasis with what the tests need."
	@$(INSTALL) --editable ".[test]"
	@touch $@
