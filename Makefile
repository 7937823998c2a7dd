# Every target does its own set-up: a virtual environment in .venv, with the pinned and hashed requirements.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check

.PHONY: help demo test clients properties fuzz check format kafka chaos chaos-processes compare bench requirements clean

help:  ## Show the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## / — /'

demo: $(VENV)/.runtime  ## Watch invoices travel the whole way; ARGS="--invoices 200 --exit" passes arguments
	@$(BIN)/metronome-qbo demo $(ARGS)

test: $(VENV)/.dev  ## Run all tests, four files at a time; ARGS="-k delivery" passes arguments to pytest, "-n 0" is one after the other
	@$(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder $(ARGS)

clients: $(VENV)/.dev  ## Let the clients of others drive the simulators: Python, Node, Java
	@$(BIN)/python -m pytest -m clients $(ARGS)

fuzz: $(VENV)/.dev  ## Send 10,000 random requests to both simulators, and 100,000 odd inputs to ours; SEED=123 INPUTS=1 repeats one run of these
	@$(if $(SEED),,SANDBOX_FUZZ_REQUESTS=10000 $(BIN)/python -m pytest tests/simulators/fuzz $(ARGS))
	@$(BIN)/python -m tests.fuzz.run --inputs $(or $(INPUTS),100000) $(if $(SEED),--seed $(SEED))

check: $(VENV)/.dev  ## Lint and type-check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.dev  ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

kafka: $(VENV)/.runtime  ## Run Apache Kafka on localhost:9092 from Maven's jars, for machines without Docker
	@$(BIN)/python -m simulators.kafka.jars --port 9092 --data var/kafka $(ARGS)

chaos: $(VENV)/.dev  ## Simulate SEEDS=1000 faulty worlds on a virtual clock; FROM=50000 is the first, SEED=123 repeats one, BUGS=1 plants bugs to be caught
	@$(BIN)/python -m tests.chaos.run $(if $(BUGS),--bugs,$(if $(SEED),--seed $(SEED),--seeds $(or $(SEEDS),1000) --from $(or $(FROM),0)))

chaos-processes: $(VENV)/.dev  ## Kill and stop real processes at random on both brokers; SECONDS=300 INVOICES=2000 SEED=1 BROKERS=kafka
	@CHAOS_SECONDS=$(or $(SECONDS),300) CHAOS_INVOICES=$(or $(INVOICES),2000) CHAOS_SEED=$(or $(SEED),1) \
		CHAOS_BROKERS="$(or $(BROKERS),kafka embedded)" CHAOS_SEEN_SECONDS=131 REQUIRE_KAFKA=1 \
		$(BIN)/python -m pytest tests/pipeline/test_chaos_processes.py -q -s $(ARGS)

compare: $(VENV)/.dev  ## Two public libraries and this project under the same faults, as docs/comparison.md
	@$(BIN)/python -m benchmarks.compare $(ARGS)

bench: $(VENV)/.dev  ## Measure invoices per second, beside a loop of python-quickbooks
	@$(BIN)/python -m benchmarks.translate
	@$(BIN)/python -m benchmarks.sandbox
	@$(BIN)/python -m benchmarks.backlog
	@$(BIN)/python -m benchmarks.pipeline $(ARGS)

properties: $(VENV)/.dev  ## Try 10,000 generated invoices under generated policies; PROPERTY_EXAMPLES=100000 for more
	@PROPERTY_EXAMPLES=$${PROPERTY_EXAMPLES:-10000} $(BIN)/python -m pytest tests/agents/translate/test_properties.py -q --timeout 7200 -o faulthandler_timeout=7500 $(ARGS)

requirements: $(VENV)/.dev  ## Pin the requirements anew
	$(BIN)/uv pip compile --upgrade --generate-hashes --universal --python-version 3.11 --no-emit-index-url --no-header --quiet requirements.in -o requirements.txt
	$(BIN)/uv pip compile --upgrade --generate-hashes --universal --python-version 3.11 --no-emit-index-url --no-header --quiet requirements-dev.in -o requirements-dev.txt

clean:  ## Remove the virtual environment and all caches
	rm -rf $(VENV) var .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info build

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; name one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.runtime: $(VENV)/.python requirements.txt pyproject.toml
	@echo "installing the requirements into $(VENV)" >&2
	@$(PIP) install --require-hashes --no-deps -r requirements.txt
	@$(PIP) install --no-deps --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime requirements-dev.txt
	@echo "installing the test requirements into $(VENV)" >&2
	@$(PIP) install --require-hashes --no-deps -r requirements-dev.txt
	@touch $@
