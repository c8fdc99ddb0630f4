# `make help` lists the targets: a target's line of help stands after its `##`.
# Variables given to make (PORT=..., DATABASE_URL=...) reach the programs as environment.

.DEFAULT_GOAL := help
.PHONY: help run test test-all coverage lint format bench faults mutants deploy-tools demo-deploy cluster cluster-comanda test-cluster test-comanda cluster-down cluster-env cluster-mark dashboards pictures lock clean
MAKEFLAGS += --no-print-directory

PYTHON_RUN := .venv/bin/python
# Test processes at once, and what else to hand to pytest: make test ARGS='-k money'
WORKERS ?= auto
ARGS ?=
RUNS ?= 100
KIND ?= inprocess
# What needs neither root nor a Go toolchain nor a browser, but for whole lives of AWS accounts, which take minutes.
CORE := not (account or go or root or cluster)

help: ## List these
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## Start everything here: API, worker, Pix sandbox, PostgreSQL (PORT=8000 OPS_PORT=9000 SANDBOX_PORT=8001); MONITORING=1 adds Prometheus (PROMETHEUS_PORT=9090)
	@sh scripts/venv local
	@exec $(if $(filter 1,$(MONITORING)),sh scripts/with-built-monitoring) $(PYTHON_RUN) -m comanda_local

test: ## The core tests: no root, no browser, no Go toolchain (ARGS='-k menu' chooses)
	@sh scripts/venv dev
	@sh scripts/venv scan
	@exec $(PYTHON_RUN) -m pytest -n $(WORKERS) -m '$(CORE)' $(ARGS)

test-all: ## All tests; what this machine cannot run is named and counted (root: it installs what they need)
	@sh scripts/not-run-here
	@sh scripts/venv dev
	@sh scripts/tools-for-tests
	$(PYTHON_RUN) -m pytest -m 'go or root' $(ARGS)
	$(PYTHON_RUN) -m pytest -n $(WORKERS) -m account $(ARGS)
	@sh scripts/test-on-cluster $(ARGS)
	@$(MAKE) test

# What must be covered to the last branch: where an order and its money move.
MONEY := src/comanda/money.py,src/comanda/checkout/*,src/comanda/orders/*,src/comanda/payments/*,src/comanda/kitchen/*

coverage: ## The money paths, covered to the last branch
	@sh scripts/venv dev
	@rm -f .coverage .coverage.*
	@$(PYTHON_RUN) -m coverage run -m pytest -q -n $(WORKERS) \
		tests/unit tests/checkout tests/database tests/http tests/provider
	@$(PYTHON_RUN) -m coverage combine -q
	@$(PYTHON_RUN) -m coverage report --include='$(MONEY)' --fail-under=100

lint: ## Style and types: ruff, mypy, shellcheck
	@sh scripts/venv dev
	@$(PYTHON_RUN) -m ruff check .
	@$(PYTHON_RUN) -m ruff format --check .
	@$(PYTHON_RUN) -m mypy
	@.venv/bin/shellcheck scripts/* infra/scripts/* $$(find tests -name "*.sh")

format: ## Put the code into its format
	@sh scripts/venv dev
	@$(PYTHON_RUN) -m ruff check --fix-only --quiet .
	@$(PYTHON_RUN) -m ruff format .

faults: ## The money under faults (RUNS=100 SEED=7 KIND=inprocess or processes); ends in what happened and what held
	@sh scripts/venv dev
	@exec $(PYTHON_RUN) -m tests.faults --runs $(RUNS) --kind $(KIND) $(if $(SEED),--seed $(SEED)) $(ARGS)

bench: ## Measure what the API costs (ARGS are handed on; ARGS=--help says which)
	@sh scripts/venv dev
	@exec $(PYTHON_RUN) -m bench $(ARGS)

mutants: ## Change the money's rules in every small way, and see which changes no test notices (an hour of one core)
	@sh scripts/venv dev
	@sh scripts/mutants $(ARGS)

deploy-tools: ## Install comanda-deploy, the operator's tool, into .venv; infra/scripts/infra-shell.sh has it in its PATH
	@sh scripts/venv deploy
	@ln -sf ../../infra/scripts/comanda-deploy .venv/bin/comanda-deploy

demo-deploy: ## The life of an AWS account, rehearsed on this machine: plan, apply, drift, mend, destroy; no account, no root
	@sh scripts/venv demo
	@exec $(PYTHON_RUN) -m comanda_testbed demo

cluster: ## A real Kubernetes of three nodes for tests (Linux, root); builds its parts once, some 35 minutes of two cores
	@sh scripts/venv dev
	@exec $(PYTHON_RUN) -m tests.cluster up

cluster-comanda: cluster ## Comanda on it: image, every manifest as shipped, sample menu, keys, Pix sandbox; how it is reached is in .comanda/cluster.json
	@sh scripts/tools-for-tests
	@exec $(PYTHON_RUN) -m tests.cluster.comanda

test-cluster: ## The tests that want the cluster, as test-all runs them; one that is up is left up
	@sh scripts/venv dev
	@sh scripts/tools-for-tests
	@exec sh scripts/test-on-cluster $(ARGS)

test-comanda: ## Of these only those of Comanda on the cluster
	@sh scripts/venv dev
	@sh scripts/tools-for-tests
	@exec sh scripts/test-on-cluster --comanda $(ARGS)

cluster-down: ## End it, and leave nothing of it
	@sh scripts/venv dev
	@exec $(PYTHON_RUN) -m tests.cluster down

cluster-env: ## Print the environment in which the scripts' verbs work on it: eval "$(make -s cluster-env)"
	@exec $(PYTHON_RUN) -m tests.cluster env

cluster-mark: ## Let tests run on the cluster of COMANDA_TEST_KUBECONFIG, after asking
	@sh scripts/venv dev
	@exec $(PYTHON_RUN) -m tests.cluster mark

dashboards: ## Write Grafana's dashboards into their manifests, from src/comanda_dashboards
	@sh scripts/venv local
	@PYTHONPATH=src $(PYTHON_RUN) -m comanda_dashboards

PROMETHEUS_URL ?= http://127.0.0.1:9090
pictures: ## Draw the dashboards from a Prometheus that runs (PROMETHEUS_URL=http://127.0.0.1:9090)
	@sh scripts/venv dev
	@exec $(PYTHON_RUN) -m tests.monitoring.drawing --prometheus '$(PROMETHEUS_URL)' $(ARGS)

lock: ## Lock the packages anew after a change of pyproject.toml (UPGRADE=1 takes the newest)
	@sh scripts/lock

clean: ## Remove what was built; the data in .comanda/ stays
	rm -rf .venv build mutants .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage
	find src tests -type d -name __pycache__ -prune -exec rm -rf {} +
