# make setup   .venv with manta in it
# make demo    a corpus, a training, a run and a report, in minutes on two cores
# make test    the tests
# make check   style, types, import rules, README's tables
#
# Each installs what it needs first: pip packages into .venv, programs through apt where they are missing.
# On a machine without a GPU, TORCH_INDEX=https://download.pytorch.org/whl/cpu saves gigabytes.

SHELL := /bin/bash
PYTHON ?= python3
TORCH_INDEX ?=
VENV := .venv
BIN := $(VENV)/bin
# pip compiles on one core; compileall takes all (some packages carry files that are no Python 3: not our matter).
PIP := $(BIN)/python -m pip --disable-pip-version-check -q
COMPILE := $(BIN)/python -m compileall -q -j 0 $(VENV)/lib >/dev/null || true
NEED := PYTHON=$(PYTHON) infra/debian/need.sh
READERS := tesseract:tesseract-ocr,tesseract-ocr-eng pdftoppm:poppler-utils
BROWSER := chromium:chromium,fonts-dejavu-core chromedriver:chromium-driver

# Much of the tests' time is waiting for Ray: two processes, each with a cluster of its own; a file stays with one, and
# they come in the order of their names: jobs/ has the long ones, the short ones of stages/ fill up at the end.
SIDE_BY_SIDE := -n 2 --dist loadfile --no-loadscope-reorder

# What is installed is right as long as these files say the same.
HASH := $(shell cat pyproject.toml constraints.txt | sha256sum | cut -c1-12)
BASE := $(VENV)/.installed-base-$(HASH)

.PHONY: setup demo test check readme
.DELETE_ON_ERROR:

setup: $(BASE)
	@echo "manta is in $(BIN): source $(BIN)/activate, then manta --help"

demo: $(VENV)/.installed-train-demo-$(HASH)
	$(BIN)/manta demo $(DEMO)

test: $(VENV)/.installed-s3-train-submit-serve-media-demo-test-dev-$(HASH)
	@$(NEED) $(BROWSER)
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) $(TESTS)

check: $(VENV)/.installed-s3-train-submit-serve-media-demo-test-dev-$(HASH)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m jobs.readme --check

# Writes README's tables anew from the code.
readme: $(BASE)
	$(BIN)/python -m jobs.readme

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "Manta needs Python 3.11 or later: make PYTHON=python3.12 …" >&2; exit 1; }
	@$(NEED) ensurepip:python3-venv
	$(PYTHON) -m venv $(VENV)

# torch goes first and alone: its index may be another one than that of all the rest.
$(BASE): | $(BIN)/python
	@$(NEED) $(READERS)
	@echo "installing Manta into $(VENV); the first time takes minutes"
	$(PIP) install --no-compile $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch==2.13.0
	$(PIP) install --no-compile -c constraints.txt -e .
	@$(COMPILE)
	@touch $@

$(VENV)/.installed-%-$(HASH): $(BASE)
	$(PIP) install --no-compile -c constraints.txt -e '.[$(subst -,$(comma),$*)]'
	@$(COMPILE)
	@touch $@

comma := ,
