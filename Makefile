# The commands of the house. `make demo` and `make test` need Python 3.11 to 3.13 and make, and do all set-up themselves.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

JOBS ?= 2# tests that run side by side
STUDIES ?= 200# simulated studies of `make recovery`
PYTHON ?= $(shell for name in python3 python3.13 python3.12 python3.11; do \
	$$name -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && { echo $$name; break; }; done)

BIN := .venv/bin
READY := .venv/ready

# Nothing phones home, however it is started; packages are never looked for outside the lock.
export DAGSTER_DISABLE_TELEMETRY := yes
export DBT_SEND_ANONYMOUS_USAGE_STATS := false
export DO_NOT_TRACK := 1
export GX_ANALYTICS_ENABLED := false
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export UV_PYTHON_DOWNLOADS := never

.PHONY: help demo ui test check lint types secrets sql generated audit upgrades docs bench recovery proof lock clean

help: ## say what there is
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(READY) ## four years of simulated deliveries and a real cohort, from landing to report
	@began=$$SECONDS; code=0; $(BIN)/delictvrij demo || code=$$?; \
	echo "demo: $$((SECONDS - began)) s"; exit $$code

ui: $(READY) ## Dagster over the home, on the loopback address
	@$(BIN)/delictvrij ui

test: $(READY) ## the tests
	@$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

check: lint types secrets sql generated ## lint, format, types, secrets, SQL, and whether what is generated is up to date

lint: $(READY)
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check

types: $(READY)
	@$(BIN)/mypy

secrets: $(READY)
	@git rev-parse --git-dir >/dev/null 2>&1 || { echo "no git here: not searched for secrets" >&2; exit 0; }; \
		git ls-files -z | xargs -0 $(BIN)/detect-secrets-hook --baseline .secrets.baseline

sql: $(READY)
	@$(BIN)/sqlfluff lint --processes $(JOBS) dbt_project/models

generated: $(READY)
	@$(BIN)/python -m orchestration.warehouse.sources --check
	@$(BIN)/python deploy/render.py --check
	@$(BIN)/dbt --quiet parse --project-dir dbt_project --profiles-dir dbt_project \
		--target-path $(CURDIR)/dbt_project/target/check --log-path $(CURDIR)/dbt_project/target/check

audit: $(READY) ## the bill of materials of what is installed, and what is known against it
	@$(BIN)/python -m tests.upkeep.audit

upgrades: $(READY) ## whether the next DuckDB, dbt and Dagster would give the same version, each in an environment of its own
	@$(BIN)/python -m tests.upkeep.upgrades

docs: $(READY) ## the pages of the dbt project: what each table and column is, and what it is made from
	@mkdir -p dbt_project/target/docs
	@cd dbt_project/target/docs && $(CURDIR)/$(BIN)/dbt --quiet docs generate --static --empty-catalog \
		--project-dir $(CURDIR)/dbt_project --profiles-dir $(CURDIR)/dbt_project --target-path $(CURDIR)/dbt_project/target/docs \
		--log-path $(CURDIR)/dbt_project/target/docs
	@echo "dbt_project/target/docs/static_index.html"

bench: $(READY) ## how long the commands take
	@$(BIN)/python -m tests.bench

recovery: $(READY) ## whether true effects are found again, over simulated studies
	@$(BIN)/python -m tests.recovery.recovery_study --studies $(STUDIES) --badge

proof: STUDIES = 2000
proof: recovery ## the long proofs: 2,000 studies, every spoiled and hostile delivery, every transport, orders of arrival, attacks on what leaves, what a release holds, erasure, restoring, the server, workers that are killed, faults, faults under load
	@$(BIN)/python -m tests.mutations
	@$(BIN)/python -m tests.mutations.hostile
	@$(BIN)/python -m tests.deliveries.over_transports
	@$(BIN)/python -m tests.deliveries.orders
	@$(BIN)/python -m tests.warehouse.histories --histories 2000
	@$(BIN)/python -m tests.warehouse.again
	@$(BIN)/python -m tests.releases.attacks --sets 200
	@$(BIN)/python -m tests.releases.cells
	@$(BIN)/python -m tests.releases.scripts
	@$(BIN)/python -m tests.releases.twin
	@$(BIN)/python -m tests.releases.portal
	@$(BIN)/python -m tests.releases.erasing
	@$(BIN)/python -m tests.stewards.restoring
	@$(BIN)/python -m tests.server.whole
	@$(BIN)/python -m tests.server.roles
	@$(BIN)/python -m tests.spreading.workers
	@$(BIN)/python -m tests.faults.matrix
	@$(BIN)/python -m tests.faults.under_load --minutes 30
	@$(BIN)/python -m tests.stewards.alert_delay

lock: $(READY) ## pin again what pyproject.toml asks for; the lock names no package host
	@$(BIN)/uv pip compile --quiet --universal --no-strip-extras --generate-hashes --no-emit-index-url --no-header \
		--group dev --extra server pyproject.toml --output-file requirements.lock

clean: ## remove the environment and what tools made; homes and their keys stay
	@rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis dbt_project/target
	@find orchestration tests -name __pycache__ -type d -prune -exec rm -rf {} +

# uv is installed from the lock and installs the rest; where it cannot reach the packages as pip can, pip takes over.
$(READY): requirements.lock
	@test -n "$(PYTHON)" || { echo "Python 3.11, 3.12 or 3.13 is needed; name it with: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(BIN)/python -c '' 2>/dev/null && $(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv || \
		{ rm -rf .venv; echo "$(PYTHON) cannot make a virtual environment (on Debian: apt-get install python3-venv)" >&2; exit 1; }
	@echo "installing what requirements.lock pins into .venv (one or two minutes)" >&2
	@awk '/^uv==/ {found = 1} found {print; if ($$0 !~ /\\$$/) exit}' requirements.lock > .venv/uv.lock
	@$(BIN)/python -m pip install --quiet --no-deps --require-hashes -r .venv/uv.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --require-hashes -r requirements.lock || \
		{ echo "uv could not; pip takes over (a few minutes)" >&2; \
		$(BIN)/python -m pip install --quiet --no-deps --require-hashes -r requirements.lock; }
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m compileall -q -j 0 -x '/tests?/' .venv/lib orchestration || true # a start takes half the time compiled
	@$(BIN)/python -c 'from orchestration.settings import Settings; from orchestration.warehouse.dbt import manifest_path; manifest_path(Settings())'
	@touch $@
