PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test lint docs clean

demo: $(VENV)/.installed
	$(BIN)/biograd demo

# One thread a process: pytest runs as many processes as there are cores.
test: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright

# Pages must read without a network: nothing in them may be fetched from elsewhere.
docs: $(VENV)/.dev
	rm -rf docs/generated docs/_build
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	! grep -rnE '(src=|<link[^>]* href=|@import |url\()["'\'']?(https?:)?//' docs/_build/html --include=*.html --include=*.css
	@echo "the pages: $(CURDIR)/docs/_build/html/index.html"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "biograd needs Python 3.11 or later: make PYTHON=python3.12 …" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# torch first and pinned: an open range would pull gigabytes of CUDA libraries.
$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) torch
	$(INSTALL) -e .
	touch $@

$(VENV)/.dev: $(VENV)/.installed
	$(INSTALL) -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) docs/_build docs/generated
