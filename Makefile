# The verbs of daily work; `make` lists them. CI calls the same ones.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
# The machine's own pip fills .venv, because a Python without ensurepip cannot put one there.
PIP := $(PYTHON) -m pip --python $(BIN)/python install --disable-pip-version-check --quiet

.DEFAULT_GOAL := help
.PHONY: help setup demo check test e2e soak fix lock crd recording bench simulate clean

help: ## list the verbs
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## / {printf "make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## create .venv/ with the locked dependencies

$(READY): requirements.lock pyproject.toml
	@echo "setting up .venv (once) ..."
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "rollout needs Python 3.11 or newer; set PYTHON=python3.x")'
	$(PYTHON) -m venv --without-pip .venv
	$(PIP) --require-hashes -r requirements.lock
	$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

demo: $(READY) ## play a good release and a bad one through a real Envoy
	@$(BIN)/rollout demo --scenario good --scenario errors

check: $(READY) ## the quick gate: no servers, under 90 s
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-logo
	$(BIN)/mypy
	$(BIN)/pytest -q -n 2 -m "not real and not slow and not soak and not e2e"

test: check ## the gate, whole virtual rollouts, and the tests with real parts (API server, Prometheus, Envoy)
	$(BIN)/python -m tests.real.parts
	$(BIN)/pytest -v -n 2 --dist worksteal -m "slow and not real"
	$(BIN)/pytest -v -n 2 --dist loadfile -m "real and not alone and not soak"
	$(BIN)/pytest -v -m alone

e2e: $(READY) ## the chart in a real cluster: one that is named, or kind, or one node of this machine
	$(BIN)/python -m tests.e2e

soak: $(READY) ## what takes long: faults at every call of every preset, deaths after each pair of writes, and at any moment
	$(BIN)/pytest -q -n 2 --dist worksteal -m soak

fix: $(READY) ## format, and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

LOCK := uv pip compile --universal --generate-hashes --no-emit-index-url --no-annotate --python-version 3.11

lock: ## renew both lock files from pyproject.toml, that of the image being a part of the other (needs uv)
	$(LOCK) --all-extras --group dev pyproject.toml -o requirements.lock
	$(LOCK) --extra controller --constraint requirements.lock pyproject.toml -o requirements.image.lock

crd: $(READY) ## write the chart's CustomResourceDefinition anew from its models
	$(BIN)/python -m rollout.adapters.crd charts/rollout/crds/servicerollouts.yaml

recording: $(READY) ## record the live view anew into docs/live.svg
	$(BIN)/python docs/record.py

bench: $(READY) ## measure what we claim
	$(BIN)/python -m bench

simulate: $(READY) ## run SEEDS worlds from seed FROM: make simulate FROM=0 SEEDS=2000
	$(BIN)/python -m tests.simulation --from $(or $(FROM),0) --seeds $(or $(SEEDS),2000)

clean: ## remove .venv/ and what the tools left
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
