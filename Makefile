# make app | lab | test | bench | atlas
# The first call builds .venv; later ones start at once, until pyproject.toml or constraints.txt changes.

PORT ?= 8866
PIP_ARGS ?=
VENV := .venv
READY := $(VENV)/.ready
# in a container people often are root, which Jupyter refuses unless told
ROOT := $(if $(filter 0,$(shell id -u)),--allow-root)
# activated, so that kernels and child processes find the same Python
RUN := VIRTUAL_ENV="$(CURDIR)/$(VENV)" PATH="$(CURDIR)/$(VENV)/bin:$$PATH" $(VENV)/bin/python -m

.PHONY: app lab test bench atlas chromium help

help:
	@echo "make app     open the Ticket Lab in a browser (PORT=$(PORT))"
	@echo "make lab     open the notebooks in JupyterLab"
	@echo "make test    style, tests, notebooks"
	@echo "make bench   measure and print tables"
	@echo "make atlas   train the shipped results again"

app: $(READY)
	@$(RUN) lthviz app --port $(PORT)

lab: $(READY)
	@$(RUN) jupyter lab notebooks/00_start_here.ipynb $(ROOT)

test: $(READY) chromium
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) pytest

bench: $(READY)
	@$(RUN) benchmarks

atlas: $(READY)
	@$(RUN) lthviz atlas
	@$(RUN) lthviz study

# PYTHON=... chooses the Python; without it the first of these that is at least 3.11
$(READY): pyproject.toml constraints.txt
	@for python in $(PYTHON) python3 python3.13 python3.12 python3.11; do \
	  if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    echo "Building $(VENV) with $$($$python --version); this takes a few minutes, once."; \
	    $$python -m venv $(VENV) && exit 0; \
	    echo "On Debian and Ubuntu: apt-get install python3-venv"; exit 1; \
	  fi; \
	done; echo "lthviz needs Python 3.11 or newer: make app PYTHON=/path/to/python3.12"; exit 1
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -c constraints.txt -e ".[test]"
	@touch $@

# the browser tests need it; without it they are skipped and say so
chromium:
	@if command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null; \
	then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  export DEBIAN_FRONTEND=noninteractive; \
	  { apt-get update && apt-get install -y --no-install-recommends chromium; } </dev/null \
	  || echo "chromium could not be installed: the browser tests will be skipped"; \
	else echo "no chromium here: the browser tests will be skipped"; fi
