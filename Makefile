# Everything a person or CI does here. Needs python3 (3.11 or newer), pip and make; nothing else.
SHELL := /bin/sh
PYTHON ?= python3
BIN := .venv/bin
RUN := .venv/.installed-run
DEV := .venv/.installed-dev
DEMO ?= demo
# Most tests wait for servers: three processes keep two cores busy.
TESTS_AT_ONCE ?= 3

.PHONY: help setup dev demo demo-down test simulate chaos majors lint format bench lock clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' Makefile | expand -t 18

$(RUN): requirements/run.txt pyproject.toml
	@sh scripts/install.sh "$(PYTHON)" run

$(DEV): requirements/dev.txt pyproject.toml
	@sh scripts/install.sh "$(PYTHON)" dev

setup: $(RUN) ## installs pgtandem and the embedded PostgreSQL into .venv

dev: $(DEV) ## the same, and what tests and linters need

demo: $(RUN) ## a primary and a standby on this machine, streaming, archived, verified, left running
	@"$(BIN)/pgtandem" up --yes "$(DEMO)"

demo-down: $(RUN) ## stops the demo and removes what it made
	@"$(BIN)/pgtandem" -f "$(DEMO)/pgtandem.toml" down --destroy --yes

test: $(DEV) ## the whole test suite, on real servers
	@sh scripts/test-packages.sh
	@"$(BIN)/python" scripts/postgresql_packages.py
	@"$(BIN)/python" -m pytest -n $(TESTS_AT_ONCE) --dist loadfile

simulate: $(DEV) ## the properties over the simulated world with many more examples, new ones at every run
	@PGTANDEM_SIMULATE=$${PGTANDEM_SIMULATE:-20} "$(BIN)/python" -m pytest tests/properties --timeout 3600

chaos: $(DEV) ## the long interruption tests: kill -9 at every line of the journal
	@sh scripts/test-packages.sh --long
	@"$(BIN)/python" scripts/postgresql_packages.py
	@"$(BIN)/python" -m pytest tests/integration -m chaos

majors: $(DEV) ## every PostgreSQL major from 10 to 18, on real servers (make test runs three of them)
	@sh scripts/test-packages.sh
	@"$(BIN)/python" scripts/postgresql_packages.py
	@"$(BIN)/python" -m pytest tests/integration/test_majors.py \
		tests/integration/test_hosts_majors.py -m ""
	@PGTANDEM_TEST_PROGRAMS="$$(ls -d "$(CURDIR)"/.venv/postgresql/[0-9]*/native/bin | paste -sd: -)" \
		"$(BIN)/python" -m pytest tests/ports/test_psycopg_database.py tests/ports/test_psycopg_session.py

lint: $(DEV) ## ruff, mypy and the rooms' import direction
	@"$(BIN)/ruff" check src tests scripts bench
	@"$(BIN)/ruff" format --check src tests scripts bench
	@"$(BIN)/mypy"
	@"$(BIN)/lint-imports" --no-cache

format: $(DEV) ## ruff's formatter over everything
	@"$(BIN)/ruff" check --fix-only -q src tests scripts bench
	@"$(BIN)/ruff" format -q src tests scripts bench

bench: $(DEV) ## the measured claims, in pairs
	@"$(BIN)/python" -m bench

lock: ## new lock files (needs uv)
	@sh scripts/lock.sh

clean: ## removes the environment (not a cluster)
	rm -rf .venv
