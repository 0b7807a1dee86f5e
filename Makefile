# The one entry: `make` lists what there is. Everything sets itself up in .venv from Python >= 3.11 and PyPI.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
ARGS   ?=

FAULTS := tests/scenarios/test_broken_bodies.py tests/scenarios/test_deception.py tests/scenarios/test_poisoning.py \
          tests/scenarios/test_herd.py tests/scenarios/test_races.py \
          tests/purging tests/stores tests/processes tests/fleet

COPIED := benchmarks docs edgecache examples rules tests LICENSE Makefile $(wildcard *.cfg *.md *.py *.toml)

.DEFAULT_GOAL := help
.PHONY: help run test faults builds check compiled lint types fmt conformance bench bench-guard bench-scaling bench-flames bench-purge bench-trouble bench-eviction bench-scale clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(VENV)/.run ## start the edge in front of a demo site; of your own with ORIGIN=http://host:port
	@exec $(BIN)/edgecache $(if $(ORIGIN),proxy --to $(ORIGIN),demo) $(if $(LISTEN),--listen $(LISTEN)) $(ARGS)

test: $(VENV)/.tests ## run the tests; ARGS="-k collapse" runs some of them
	@$(BIN)/pytest $(ARGS)

faults: $(VENV)/.tests ## the tests of everything that can break, at full length, which takes most of an hour
	@EDGECACHE_LONG=1 $(BIN)/pytest $(FAULTS) $(ARGS)

builds: $(VENV)/.tests ## the tests of what build tools write, with the tools themselves; needs npm
	@EDGECACHE_LONG=1 $(BIN)/pytest tests/builds $(ARGS)

check: lint types test ## everything a change has to pass

compiled: ## the tests, with those modules compiled that can be: in .compiled, a copy of this tree; needs a C compiler
	@mkdir -p .compiled
	@cd .compiled && rm -rf $(COPIED)
	@cp -Rp $(COPIED) .compiled
	@$(MAKE) -C .compiled --no-print-directory .venv/.tests
	@cd .compiled && EDGECACHE_COMPILE=1 .venv/bin/python setup.py --quiet build_ext --inplace
	@cd .compiled && EDGECACHE_COMPILE=1 .venv/bin/pytest $(ARGS)

lint: $(VENV)/.tests ## style and formatting
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(VENV)/.tests ## static types
	@$(BIN)/mypy

fmt: $(VENV)/.tests ## format the code, and mend what can be mended without thought
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

conformance: $(VENV)/.tests ## the HTTP caching conformance suite
	@$(BIN)/python tests/conformance/run.py $(ARGS)

bench: $(VENV)/.tests ## CPU time per request beside nginx, Varnish and HAProxy; ARGS="--quick", "--cases hit-1k,miss"
	@$(BIN)/python -m benchmarks $(ARGS)

bench-guard: $(VENV)/.tests ## whether a hit has become dearer than is on record, in instructions if valgrind is there
	@$(BIN)/python -m benchmarks.guard $(ARGS)

bench-scaling: $(VENV)/.tests ## a hit with up to a million objects, 20 tags on each, 100 000 purges
	@$(BIN)/python -m benchmarks.scaling $(ARGS)

bench-flames: $(VENV)/.flames ## where the time of hits and misses goes, as SVG
	@$(BIN)/python -m benchmarks.flames $(ARGS)

bench-purge: $(VENV)/.tests ## time of a purge, whatever it hits; 2 edges of 2 workers, 100 000 responses
	@$(BIN)/python -m benchmarks.purge $(ARGS)

bench-trouble: $(VENV)/.tests ## what hits cost while Redis is stopped or dead
	@$(BIN)/python -m benchmarks.trouble $(ARGS)

bench-eviction: $(VENV)/.run ## what each order of eviction finds in memory, beside who knows the future
	@$(BIN)/python benchmarks/hit_ratio.py $(ARGS)

bench-scale: $(VENV)/.run ## bytes, time and pauses of memory with a million responses; takes half an hour
	@$(BIN)/python benchmarks/scale.py $(ARGS)

clean: ## remove everything that was made
	rm -rf $(VENV) .builds .compiled .conformance build dist *.egg-info .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Installed once, and again when what is needed changes.

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "edgecache needs Python 3.11 or newer: make PYTHON=...")'
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(VENV)/.run: setup.cfg pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.tests: setup.cfg pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[tests]'
	@touch $@

$(VENV)/.flames: $(VENV)/.tests
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'py-spy>=0.4.1'
	@touch $@
