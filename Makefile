# `make demo` and `make test` need Python 3.11 or newer, git and make; everything else is installed into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
MODEL ?=
OTLP ?= .textgrad-lg/demo-spans.jsonl
UV = $(shell command -v uv || echo "$(PYTHON) -m uv")

.PHONY: demo test test-faults test-server test-backends jaeger test-kill lint type bench bench-optimizers bench-calibration bench-peers docs all constraints clean

all: lint type test docs

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("textgrad_lg needs Python 3.11 or newer, this is %s; set PYTHON=" % sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	@command -v uv >/dev/null || $(PYTHON) -m uv --version >/dev/null 2>&1 || $(PYTHON) -m pip install --quiet --user uv || $(PYTHON) -m pip install --quiet --user --break-system-packages uv
	$(UV) venv --quiet --allow-existing --python $(PYTHON) $(VENV)
	$(UV) pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable '.[dev,local,graphs]'
	@touch $@

demo: $(VENV)/.installed  ## the main job on a real graph with a real model; no key needed
	$(BIN)/python -m examples.review_desk.demo --model "$(MODEL)" --otlp "$(OTLP)"

test: $(VENV)/.installed  ## the whole default test suite, with coverage
	$(BIN)/pytest -n 2 --cov --cov-report=term

# An environment of its own: the server asks for an older protobuf than the tests' OpenTelemetry exporters do.
$(VENV)-server/.installed: pyproject.toml tests/server/requirements.in tests/server/constraints.txt $(VENV)/.installed
	$(UV) venv --quiet --allow-existing --python $(PYTHON) $(VENV)-server
	$(UV) pip install --quiet --python $(VENV)-server/bin/python --constraint tests/server/constraints.txt --editable . --requirement tests/server/requirements.in
	@touch $@

test-server: $(VENV)-server/.installed  ## deployed graphs, against a real LangGraph Server on this machine
	$(VENV)-server/bin/python -m pytest tests/server

# Environments of their own: nothing that these servers ask for is asked for by the library.
BACKENDS := $(VENV)-backends
$(BACKENDS)/%/.installed: tests/backends/requirements/%.txt $(VENV)/.installed
	$(UV) venv --quiet --allow-existing --python $(PYTHON) $(@D)
	$(UV) pip install --quiet --no-deps --python $(@D)/bin/python --requirement $<
	@touch $@

# Built from the module as it is published, by its own go.mod: `go install` takes no module that replaces another. It has
# the collector, the storage and the query API; the user interface is not part of it.
JAEGER_VERSION := v1.76.0
$(BACKENDS)/jaeger/all-in-one:
	@command -v go >/dev/null || { echo "Jaeger is built from source, which needs Go 1.24.6 or newer"; exit 1; }
	@mkdir -p $(@D)
	go mod download github.com/jaegertracing/jaeger@$(JAEGER_VERSION)
	go build -C "$$(go env GOMODCACHE)/github.com/jaegertracing/jaeger@$(JAEGER_VERSION)" -buildvcs=false -trimpath -ldflags='-s -w' -o "$(abspath $@)" ./cmd/all-in-one

jaeger: $(BACKENDS)/jaeger/all-in-one  ## Jaeger, built once: some minutes

test-backends: $(BACKENDS)/phoenix/.installed $(BACKENDS)/mlflow/.installed $(if $(shell command -v go),jaeger)  ## spans, sent to Jaeger, Phoenix and MLflow on this machine and read back
	TEXTGRAD_LG_BACKENDS=1 $(BIN)/pytest tests/backends

test-kill: $(VENV)/.installed  ## runs that are killed 50 times, at random, go on to the same end; about two minutes
	TEXTGRAD_LG_KILLS=50 $(BIN)/pytest -s tests/run/test_kill.py tests/run/test_learn_kill.py

test-faults: $(VENV)/.installed  ## ten thousand calls with every fifth one failing, counted on both sides; some minutes
	$(BIN)/python -m tests.faults.heavy

lint: $(VENV)/.installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports

type: $(VENV)/.installed
	$(BIN)/pyright

bench: $(VENV)/.installed  ## performance figures, each a ratio to something run beside it
	@failed=; for name in imports recording overlay memory transport critical_path ingest; do \
	  echo "== $$name"; $(BIN)/python -m benchmarks.$$name || failed="$$failed $$name"; \
	done; test -z "$$failed" || { echo "failed:$$failed"; exit 1; }

bench-optimizers: $(VENV)/.installed  ## calls, tokens, rounds and seconds of optimize in the simulated world; about half an hour
	$(BIN)/python -m benchmarks.optimizers
	for kind in loop send tools; do $(BIN)/python -m benchmarks.optimizers --kind $$kind --rows "default;Joint" || exit 1; done
	$(BIN)/python -m benchmarks.gates

bench-calibration: $(VENV)/.installed  ## how often an improvement is claimed where there is none, and where there is one; about forty minutes
	$(BIN)/python -m benchmarks.sequential
	$(BIN)/python -m benchmarks.calibration

# Each peer has an environment of its own, because their requirements exclude each other.
PEERS := gepa textgrad dspy trace langmem adalflow
$(VENV)-peers/%/.installed: benchmarks/peers/requirements/%.txt $(VENV)/.installed
	$(UV) venv --quiet --allow-existing --python $(PYTHON) $(@D)
	$(UV) pip install --quiet --no-deps --python $(@D)/bin/python --requirement $<
	@touch $@

bench-peers: $(PEERS:%=$(VENV)-peers/%/.installed)  ## other libraries on the same task; about half an hour
	$(BIN)/python -m benchmarks.peers.drive

docs: $(VENV)/.installed  ## every Python example in the documents and docstrings is run
	$(BIN)/pytest -q tests/docs

constraints:  ## renew the pins
	$(UV) pip compile --quiet --no-header --no-annotate --universal --python-version 3.11 --upgrade --extra dev --extra local --extra graphs pyproject.toml --output-file constraints.txt
	$(UV) pip compile --quiet --no-header --no-annotate --universal --python-version 3.11 --upgrade pyproject.toml tests/server/requirements.in --output-file tests/server/constraints.txt
	for name in phoenix mlflow; do $(UV) pip compile --quiet --no-header --no-annotate --universal --python-version 3.11 --upgrade tests/backends/requirements/$$name.in --output-file tests/backends/requirements/$$name.txt || exit 1; done

clean:
	rm -rf $(VENV) $(VENV)-server $(VENV)-peers $(VENV)-backends dist htmlcov .coverage* .ruff_cache .pytest_cache .hypothesis .import_linter_cache
