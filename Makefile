# `make book` and `make test` each do everything from a fresh clone: environment, assets, notebooks, pages.
# They need Python 3.10 or newer, make and pip. Options: PYTHON=python3.12  PROFILE=default

PYTHON  ?= python3
PROFILE ?= default
VENV    := .venv
BIN     := $(VENV)/bin
STAMP   := $(VENV)/.installed
# A core each, and one file of tests at a time: what a file prepares is prepared once.
PYTEST  := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := book
.PHONY: book test test-small bench sync clean

book: $(STAMP)
	$(BIN)/brainalign book --profile $(PROFILE)

# That each notebook and its script agree is one of the tests (tests/test_project.py).
test: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/mypy
	$(PYTEST) --ignore tests/benchmarks

# What can be tested without assets: some minutes, on any Python.
NEED_ASSETS := book/test_nsd_profile book/test_runs datasets/test_alice datasets/test_folder \
    datasets/test_frank2015 datasets/test_n400 datasets/test_nsd datasets/test_objects92 \
    datasets/test_podcast datasets/test_viewing_folder features/test_captions \
    features/test_language features/test_lesions ridge/test_content_null \
    simulated/test_layer_order simulated/test_scenes simulated/test_speech \
    simulated/test_virtual_listening simulated/test_virtual_viewing test_cloze_error test_cortex
test-small: $(STAMP)
	$(PYTEST) --ignore tests/benchmarks --ignore tests/browser $(NEED_ASSETS:%=--ignore tests/%.py)

bench: $(STAMP)
	$(BIN)/python -m pytest tests/benchmarks -s

# After an edit of notebooks/*.py or notebooks/*.ipynb: bring the older of the two up to date.
sync: $(STAMP)
	$(BIN)/jupytext --sync notebooks/*.py

# torch comes first and by its exact version, so that no later step replaces the build that pip chose.
# Some systems ship Python without ensurepip: there, the system's pip fills the environment.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c "import sys; sys.version_info >= (3, 10) or sys.exit('Python 3.10 or newer is needed, this is %d.%d: run make PYTHON=/path/to/python' % sys.version_info[:2])"
	@echo "Making the environment in $(VENV) (a few minutes, once)"
	$(PYTHON) -m venv $(VENV) || ( $(PYTHON) -m venv --without-pip $(VENV) && $(PYTHON) -m pip --python $(BIN)/python install pip )
	$(BIN)/python -m pip install --upgrade -c constraints.txt pip
	$(BIN)/python -m pip install $$(grep '^torch==' constraints.txt)
	$(BIN)/python -m pip install -c constraints.txt -e ".[data,captions,book,test]"
	@touch $@

clean:
	rm -rf _build book/executed .benchmarks .pytest_cache .ruff_cache .mypy_cache .hypothesis
