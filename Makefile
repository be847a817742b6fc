# Needs only Python >= 3.11, Java >= 17 and make; everything else is installed into .venv from requirements/ (locked, with hashes).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
.DEFAULT_GOAL := help
.PHONY: help setup demo test crash fuzz deploy-check lint sbom licences reference audit format screenshots bench performance lock clean

help: ## list these targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.ready ## make .venv: locked dependencies, Delta jars, the two commands

$(VENV)/.ready: requirements/dev.txt requirements/uv.txt pyproject.toml scripts/install_delta_jars.py
	@PYTHON=$(PYTHON) sh scripts/check_machine.sh
	@echo "making $(VENV) from locked requirements, with Delta's jars from Maven: about a minute"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@$(BIN)/uv pip sync --quiet --compile-bytecode --python $(BIN)/python --require-hashes requirements/uv.txt requirements/dev.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m compileall -q service spark_jobs
	@$(BIN)/python scripts/install_delta_jars.py > $(VENV)/delta-jars.log 2>&1 || { cat $(VENV)/delta-jars.log >&2; exit 1; }
	@echo "ready: $(BIN)/dxr-ingest and $(BIN)/dxr-ingest-tables"
	@touch $@

demo: setup ## a simulated tenant, the real service, the real Spark job: rows in Delta tables under .demo/ (LANDING=volume: through a simulated Databricks)
	@$(BIN)/python -m tests.demo $(if $(LANDING),--landing $(LANDING))

test: setup ## the whole suite
	@sh scripts/check_machine.sh
	@$(BIN)/python -m scripts.chromium
	@$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder tests/spark tests

crash: setup ## kill, freeze and terminate real processes at random: KILLS=200 SEED=…
	@$(BIN)/python -m tests.crash --kills $(or $(KILLS),200) $(if $(SEED),--seed $(SEED))

fuzz: setup ## schemathesis with all its checks against the real service: CASES=5000 SEED=…
	@$(BIN)/python -m tests.fuzz --cases $(or $(CASES),5000) $(if $(SEED),--seed $(SEED))

deploy-check: setup ## Kubernetes manifests and image: strict schemas, Pod Security, settings; builds and runs the image where there is a container engine
	@$(BIN)/python -m scripts.deploy_check

lint: setup ## ruff (style, security), basedpyright (strict), import-linter, secrets, requirements as compiled
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/python -m scripts.lock_sum
	@git ls-files -z --cached --others --exclude-standard | xargs -0 $(BIN)/detect-secrets-hook --no-verify --baseline .secrets.baseline
	@$(BIN)/basedpyright
	@$(BIN)/lint-imports --no-cache

sbom: setup ## CycloneDX SBOM of the service into build/sbom/, the same bytes for the same lock
	@mkdir -p build/sbom
	@sed "s/^dynamic = .*/version = \"$$($(BIN)/hatchling version)\"/" pyproject.toml > build/sbom/pyproject.toml
	@PYTHONWARNINGS=ignore $(BIN)/cyclonedx-py requirements --pyproject build/sbom/pyproject.toml --output-reproducible \
	  --of JSON -o build/sbom/dxr-ingest-service.cdx.json requirements/service.txt
	@rm build/sbom/pyproject.toml
	@echo build/sbom/dxr-ingest-service.cdx.json

licences: setup ## write docs/licences.md anew, after make lock
	@$(BIN)/python -m scripts.licences

reference: setup ## write docs/configuration.md, cli.md and api.md anew, after a change of settings, commands or the API
	@$(BIN)/python -m scripts.reference

audit: setup ## known vulnerabilities of what the image holds; asks the database of PyPI, so it is no part of the tests
	@$(BIN)/uv tool run pip-audit --require-hashes --disable-pip --strict -r requirements/service.txt

format: setup ## let ruff fix and format
	@$(BIN)/ruff check --fix --quiet . || true
	@$(BIN)/ruff format --quiet .

screenshots: setup ## docs/screenshots/ anew: the page of the real service over a simulated tenant with a month behind it
	@$(BIN)/python -m scripts.chromium
	@$(BIN)/python -m tests.browser.screenshots

bench: setup ## speed and memory, as ratios of things run side by side
	@$(BIN)/python -m bench $(PARTS)

performance: setup ## docs/performance.md and its chart anew, from the last results of make bench
	@$(BIN)/python -m bench --write-docs

lock: setup ## compile requirements/*.txt anew from pyproject.toml
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate requirements/uv.in -o requirements/uv.txt
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate pyproject.toml --extra service --extra spark --group dev -o requirements/dev.txt
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate pyproject.toml --extra service -c requirements/dev.txt -o requirements/service.txt
	@$(BIN)/python -m scripts.lock_sum --write

clean: ## remove what make made here
	@rm -rf $(VENV) .demo .bench build .pytest_cache .ruff_cache .hypothesis
