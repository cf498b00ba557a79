# Targets set up .venv on demand from requirements/dev.txt, with hashes. `make help` lists the targets.
SHELL       := bash
.SHELLFLAGS := -euo pipefail -c
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# Test processes. Tests mostly wait, so there may be more of them than cores. JOBS=0: run in the main process.
JOBS   ?= 4
PYTEST := $(BIN)/python -m pytest -n $(JOBS) --durations 20 --durations-min 2
READY  := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup demo wheel compiled test test-all scenarios bench bench-peers bench-before check format reference docs lock \
	clean

help: ## show this list
	@echo "Signpost: signs Kafka events and delivers them as webhooks. Start with \`make demo\`."
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## create the virtual environment .venv with all dependencies
	@echo "setup: $(VENV) is ready"

$(READY): requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "signpost needs Python 3.11 or later; $(PYTHON) is $$($(PYTHON) --version). Try: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	@echo "setup: virtual environment in $(VENV), with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV) || { echo "setup: on Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	@echo "setup: packages of requirements/dev.txt"
	@$(BIN)/python -u -m pip install --disable-pip-version-check --progress-bar off --require-hashes \
		-r requirements/dev.txt | bash requirements/show-progress
	@echo "setup: Signpost itself"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(READY)

demo: $(READY) ## run the demo on a real broker: events in, signed webhooks out
	@$(BIN)/signpost demo

wheel: $(READY) ## build two wheels in dist: pure Python, and with compiled hot modules (needs a C compiler)
	@SIGNPOST_MYPYC=0 $(BIN)/python -m hatchling build --target wheel --directory dist
	@SIGNPOST_MYPYC=1 $(BIN)/python -m hatchling build --target wheel --directory dist

compiled: $(READY) ## build the compiled wheel and unpack it in build/compiled, for tests and benchmarks
	@$(BIN)/python -m tests.support.compiled

test: $(READY) ## run all tests in their short form, under 10 minutes on 2 cores
	@$(PYTEST) -m "not long"

# The long scenarios compare latencies of healthy endpoints, so nothing may run beside them.
test-all: $(READY) ## run all tests, also long fault and load runs: over an hour
	@failed=0; $(PYTEST) -m "not (scenario and long)" || failed=1; \
		$(MAKE) --no-print-directory scenarios || failed=1; exit $$failed

# The heap of Kafka's own scripts. With the small default heap, garbage collections of the broker pause it for 0.1 to
# 0.2 s every ten seconds. Those pauses would dominate the slowest percent of deliveries.
scenarios bench bench-peers bench-before: export KAFKA_HEAP_OPTS ?= -Xms1g -Xmx1g -Xmn400m

# One after the other, because they compare latencies of healthy endpoints.
scenarios: $(READY) ## run the long tests with misbehaving endpoints and write the table of results: 25 minutes
	@$(BIN)/python -m pytest -n 0 -m scenario -k "not short" --durations 10 --durations-min 2

bench: $(READY) ## run benchmarks with their yardsticks (needs nginx): make bench BENCH="delivery latency" SCALE=0.1
	@$(BIN)/python -m tests.bench $(BENCH) --scale $(or $(SCALE),1) --rounds $(or $(ROUNDS),1)

bench-peers: $(READY) ## compare delivery with Confluent's parallel-consumer (Java 17, Maven) and Bento: SCALE, ROUNDS
	@$(BIN)/python -m tests.bench.peers --scale $(or $(SCALE),1) --rounds $(or $(ROUNDS),3)

bench-before: $(READY) ## compare delivery and router with another commit: make bench-before COMMIT=HEAD~1, SCALE, ROUNDS
	@$(BIN)/python -m tests.bench.before $(or $(COMMIT),HEAD) --scale $(or $(SCALE),1) --rounds $(or $(ROUNDS),3)

check: $(READY) ## run ruff, mypy --strict and import-linter
	@echo "check: ruff"
	@$(BIN)/ruff format --check --quiet . || { echo "check: \`make format\` formats these:"; $(BIN)/ruff format --check .; }
	@$(BIN)/ruff check --quiet .
	@echo "check: mypy --strict"
	@$(BIN)/mypy --no-error-summary
	@echo "check: layers"
	@$(BIN)/lint-imports --no-logo

format: $(READY) ## format and fix with ruff
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

reference: $(READY) ## generate docs/reference/, the tables in docs/ and the dashboards from the code
	@$(BIN)/python -m deploy.reference.tables docs
	@$(BIN)/python -m deploy.reference.dashboards deploy/grafana
	@$(BIN)/python -m tests.support.promises

docs: reference $(VENV)/.ready-docs ## generate reference pages, then build all pages as a site in site/
	@$(BIN)/python -m deploy.reference.site build/site
	@$(BIN)/python -m sphinx -q -E -W --keep-going -d build/doctrees build/site site
	@echo "docs: site/index.html; the guides for receivers are under site/docs/receivers"

$(VENV)/.ready-docs: requirements/docs.txt $(READY)
	@echo "setup: packages of requirements/docs.txt"
	@$(BIN)/python -u -m pip install --disable-pip-version-check --progress-bar off --require-hashes \
		-r requirements/docs.txt | bash requirements/show-progress
	@touch $@

lock: $(READY) ## update versions in requirements/*.txt (needs uv)
	@uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
		--extra local pyproject.toml --output-file requirements/runtime.txt
	@uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
		--constraint requirements/runtime.txt --extra local --extra tracing \
		pyproject.toml --output-file requirements/tracing.txt
	@uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
		--extra local --extra tracing --group dev pyproject.toml --output-file requirements/dev.txt
	@uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
		--constraint requirements/dev.txt --group docs --output-file requirements/docs.txt

clean: ## remove .venv, build results and caches
	@rm -rf $(VENV) build site .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
