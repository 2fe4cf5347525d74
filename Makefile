# make report and make test set themselves up; everything lives in .venv.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
STORE := runs/orl.zarr
DEMO := --quick --faces orl --model mobilefacenet --store $(STORE) --out reports
# Test files side by side, one thread each, in their order: those of few tests take the longest.
PYTEST := $(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

.PHONY: report test test-slow test-exhaustive test-all lint docs bench gallery bad-inputs lab clean
.DEFAULT_GOAL := report

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "freqlab needs Python 3.11 or newer; name one with make PYTHON=..."; exit 1; }
	$(PYTHON) -m venv .venv

# One stamp per set of extras; the pinned versions are those the tests passed with.
.venv/installed-%: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing freqlab[$*] into .venv (the first time a few gigabytes, some minutes) ..."
	$(PIP) install --constraint constraints.txt --editable '.[$*]'
	@touch $@

# The demo's network, compiled for this machine: about half a minute once, then faster from the first
# forward pass. Without a C++ compiler, or with FREQLAB_CACHE=off, the demo runs all the same.
.venv/compiled: .venv/installed-all
	@$(BIN)/freqlab compile --model mobilefacenet || echo 'The demo runs uncompiled.'
	@touch $@

# All reports on the demo, the page of first steps first; pages whose inputs are unchanged are kept.
# The network is compiled after them: for the first pages alone, that takes longer than it saves.
report: .venv/installed-all
	$(BIN)/freqlab report all $(DEMO)
	@$(MAKE) --no-print-directory .venv/compiled
	@echo
	@echo "Open reports/index.html in a browser. The run is kept in $(STORE)."

test: .venv/installed-test
	$(PYTEST) -m "not slow and not exhaustive"

# What takes minutes: a wheel in another environment, the whole of ORL, a browser.
test-slow: .venv/installed-test
	$(PYTEST) -m "slow and not exhaustive"

# What takes an hour: the coverage of intervals over many designs, each figure in many sizes, a kill
# before each of thousands of file operations, thousands of changed descriptions, compilations under
# every fault, a wheel in a fresh environment, photographs of 144 megapixels.
test-exhaustive: .venv/installed-test
	$(PYTEST) --dist load -m exhaustive

test-all: test test-slow test-exhaustive

lint: .venv/installed-lint
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python .ci/docstrings
	$(BIN)/python .ci/audit

# The site, in docs/_build/html, without a network. A broken reference or link is an error.
docs: .venv/installed-docs
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet -b html docs docs/_build/html
	$(BIN)/python docs/site_links.py docs/_build/html

# Ratios, not seconds, on the demo; benchmarks/README.md says how to take other faces and models.
bench: .venv/installed-test
	$(BIN)/python benchmarks/speed.py --scaling
	$(BIN)/python benchmarks/photographs.py --memory 1000 10000
	$(BIN)/python benchmarks/verification.py
	$(BIN)/python benchmarks/runtimes.py
	$(BIN)/python benchmarks/pairing.py
	$(BIN)/python benchmarks/models.py
	$(BIN)/python benchmarks/inspector.py
	$(BIN)/python benchmarks/cluster.py
	$(BIN)/python benchmarks/table.py

# docs/gallery.md and its pictures, from the faces and weights of the demo.
gallery: .venv/installed-all
	$(BIN)/python docs/gallery.py

# docs/bad_inputs.md: what becomes of inputs that are wrong, by trying each.
bad-inputs: .venv/installed-test
	$(BIN)/python tests/bad_inputs.py

lab: .venv/installed-all
	$(BIN)/jupyter lab notebooks

clean:
	rm -rf .venv runs reports dist build docs/_build
