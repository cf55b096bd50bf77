# `make demo` and `make test` need nothing but Python 3.11 or newer: each makes .venv once.
PYTHON ?= python3
BIN := .venv/bin
NEEDS := setup.cfg constraints.txt
INSTALL := $(BIN)/python -m pip install --quiet -c constraints.txt -e
# The test workers share the cores: one FFT and torch thread each.
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 DECONV_THREADS=1

.PHONY: demo test test-browser notebooks notebooks-write lint bench docs clean

demo: .venv/.demo
	$(BIN)/deconv demo

test: .venv/.test
	$(ONE_THREAD) $(BIN)/python -m pytest -n 2 --cov --cov-report=term

# Needs Debian's browser: apt install chromium. Another one: make test-browser CHROMIUM=/path/to/it
CHROMIUM ?= /usr/bin/chromium
test-browser: .venv/.test
	$(INSTALL) ".[report,browser]"
	$(ONE_THREAD) CHROMIUM=$(CHROMIUM) $(BIN)/python -m pytest tests/test_report_browser.py

# Ten minutes for a cell; .ci/run limits the whole.
NBMAKE := $(ONE_THREAD) $(BIN)/python -m pytest --nbmake --nbmake-timeout=600
notebooks: .venv/.test
	$(NBMAKE) notebooks/*.ipynb

# After a change of notebooks/*.py: new outputs in the .ipynb beside it. Name some: NB=notebooks/01*
NB ?= notebooks/*
notebooks-write: .venv/.test
	$(BIN)/jupytext --to ipynb --update $(filter %.py,$(wildcard $(NB)))
	$(NBMAKE) --overwrite $(filter %.ipynb,$(wildcard $(NB)))

lint: .venv/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: .venv/.test
	$(BIN)/python -m benchmarks

docs: .venv/.docs
	$(BIN)/python -m sphinx -W --keep-going docs docs/_build/html

.venv/bin/python:
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'deconv needs Python 3.11')"
	$(PYTHON) -m venv .venv

.venv/.demo: $(NEEDS) | .venv/bin/python
	$(INSTALL) ".[fast,unrolled]"
	touch $@

.venv/.test: $(NEEDS) | .venv/bin/python
	$(INSTALL) ".[unrolled,train,export,fast,report,notebooks,test]"
	touch $@

.venv/.docs: $(NEEDS) | .venv/bin/python
	$(INSTALL) ".[fast,unrolled,train,docs]"
	touch $@

clean:
	rm -rf .venv build dist demo docs/_build *.egg-info
