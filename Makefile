# make report and make test set themselves up; everything lives in .venv.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
STORE := runs/orl.zarr

.PHONY: report test test-all lint bench gallery lab clean
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

report: .venv/installed-all
	$(BIN)/freqlab report explore --faces orl --model mobilefacenet --store $(STORE) --out reports -p n_pairs=200
	$(BIN)/freqlab report verification --faces orl --model mobilefacenet --store $(STORE) --out reports -p group=gender
	$(BIN)/freqlab report cross-resolution --faces orl --model mobilefacenet --store $(STORE) --out reports
	$(BIN)/freqlab report bias --faces orl --model mobilefacenet --store $(STORE) --out reports
	$(BIN)/freqlab report morphing --faces orl --model mobilefacenet --store $(STORE) --out reports
	@echo
	@echo "Open reports/index.html in a browser. The run is kept in $(STORE)."

test: .venv/installed-test
	$(BIN)/python -m pytest -m "not slow"

# Also what takes minutes: a wheel in a fresh environment, the whole of ORL.
test-all: .venv/installed-test
	$(BIN)/python -m pytest

lint: .venv/installed-lint
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

# Ratios, not seconds, on the demo; benchmarks/README.md says how to take other faces and models.
bench: .venv/installed-test
	$(BIN)/python benchmarks/speed.py --scaling
	$(BIN)/python benchmarks/pairing.py
	$(BIN)/python benchmarks/models.py
	$(BIN)/python benchmarks/inspector.py
	$(BIN)/python benchmarks/cluster.py

# docs/gallery.md and its pictures, from the faces and weights of the demo.
gallery: .venv/installed-all
	$(BIN)/python docs/gallery.py

lab: .venv/installed-all
	$(BIN)/jupyter lab notebooks

clean:
	rm -rf .venv runs reports dist build
