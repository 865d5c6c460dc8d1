# Every target runs from a bare checkout: it sets up first what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.set-up
UV_VERSION := 0.13.9
LETHE_DATA ?= data
export LETHE_DATA

.PHONY: setup demo up down test test-all test-compose check audit lock clean

setup: $(STAMP)

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Lethe needs Python 3.11 or newer; set PYTHON=/path/to/python3.11"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
	  { rm -rf $(VENV); echo "Could not make .venv; on Debian: apt-get install python3-venv"; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@echo "Installing what requirements.lock names (about 5 GB with PyTorch; minutes the first time)"
	@VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --require-hashes -r requirements.lock
	@VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

demo: setup
	@$(BIN)/lethe demo $(if $(ONCE),--once)

test: setup
	@$(BIN)/python -m tests.run

test-all: setup
	@$(BIN)/python -m tests.run --all

test-compose: setup
	@$(BIN)/python -m tests.compose

# The whole system in containers: docs/guides/containers.md. Data outlive `make down`.
up:
	@docker compose up --detach --build --wait --wait-timeout 600
	@echo "Lethe answers at http://$$(docker compose port front 8000); try"
	@echo "  docker compose exec api lethe erase digits --subject subject-20 --wait"

down:
	@docker compose down

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/bandit -q -c pyproject.toml -r lethe service worker core unlearning migrations
	$(BIN)/hadolint Dockerfile
	@! docker compose version >/dev/null 2>&1 || \
	  { echo docker compose config; docker compose -f docker-compose.yml -f docker-compose.gpu.yml config -q; }

# bandit, and what is known to be wrong with the dependencies (asks pypi.org).
audit: setup
	@$(BIN)/python -m tests.audit

# What is tested, and what goes into the images: parts of the same resolution.
lock: COMPILE := $(BIN)/uv pip compile --universal --generate-hashes --no-header --quiet
lock: PART := $(COMPILE) --no-annotate --constraint requirements.lock
lock: $(VENV)/bin/python
	$(COMPILE) --extra ml --group dev --group bench pyproject.toml -o requirements.lock
	$(PART) --extra otel --extra s3 pyproject.toml -o requirements-api.lock
	$(PART) --extra otel --extra s3 --extra ml pyproject.toml -o requirements-ml.lock
	printf 'hatchling\nuv==$(UV_VERSION)\n' | $(PART) - -o requirements-build.lock

clean:
	rm -rf $(VENV) var .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage*
