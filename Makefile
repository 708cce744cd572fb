# make run   starts a local control plane, the operator on it and an example group, and shows it live
# make test  runs everything under test/unit, test/integration, test/cluster and test/chaos
# Both set up all they need: a virtual environment in .venv and a control plane built from Go modules.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PYTEST ?= $(BIN)/python -m pytest

.PHONY: core-types rights run test test-unit test-nightly test-oldest bench-runtime lint fmt manifests verify requirements controlplane clean help

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

run: $(READY) ## a local control plane with simulated nodes, the operator and an example; Ctrl-C stops all
	@$(BIN)/rbgctl playground $(ARGS)

test: $(READY) controlplane ## unit, integration, cluster and chaos tests
	$(PYTEST) test/unit test/integration test/cluster test/chaos -m "not nightly" $(ARGS)

test-unit: $(READY) ## only what needs no API server
	$(PYTEST) test/unit -m "not nightly" $(ARGS)

test-nightly: $(READY) controlplane ## the long property and chaos runs, then test-oldest
	$(PYTEST) test -m nightly $(ARGS)
	$(MAKE) test-oldest

test-oldest: $(READY) controlplane ## the integration tests on the oldest supported Kubernetes
	@assets=$$($(BIN)/python hack/controlplane/build.py --module oldest) && \
	  KUBEBUILDER_ASSETS=$$assets $(PYTEST) test/integration -m "not nightly" $(ARGS)

bench-runtime: $(READY) controlplane ## what rbgctl.runtime costs with 10 000 pods; ARGS="--json FILE", ARGS=--small
	PYTHONPATH=test $(BIN)/python -m bench.runtime $(ARGS)

rights: $(READY) controlplane ## which rights of the manager nothing uses, and why those are granted
	$(PYTEST) test/cluster/test_rights.py -s -q $(ARGS)

lint: $(READY) ## ruff, mypy --strict and the import layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy examples/operator
	$(BIN)/lint-imports

fmt: $(READY) ## format and sort imports
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

manifests: $(READY) ## regenerate config/crd, config/rbac and config/webhook from the code
	$(BIN)/python -m rbgctl.api.crd
	$(BIN)/python -m rbgctl.manifests
	$(BIN)/python -m rbgctl.flags_page > docs/flags.md

verify: $(READY) ## fail when generated files differ from the code
	$(BIN)/python -m rbgctl.api.crd --check
	$(BIN)/python -m rbgctl.manifests --check
	$(BIN)/python -m rbgctl.flags_page | diff - docs/flags.md

core-types: ## regenerate how Go encodes core/v1 types, after a change of the Kubernetes version (needs Go)
	cd hack/controlplane && go run ./typeschema > ../../rbgctl/planning/core_types.json

controlplane: $(READY) ## build etcd, kube-apiserver and the rest once; later calls find them in the cache
	@$(BIN)/python hack/controlplane/build.py

requirements: $(READY) ## pin the newest versions that fit requirements/*.in, with hashes
	$(BIN)/python -m pip install --quiet uv
	cd requirements && for f in runtime dev; do ../$(BIN)/uv pip compile --quiet --upgrade --universal \
	  --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate \
	  $$f.in -o $$f.txt || exit 1; done

$(READY): requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if v >= (3, 11) else "rbgctl needs Python 3.11 or newer, $(PYTHON) is %d.%d: run make PYTHON=python3.11" % v)'
	@echo "installing Python dependencies into $(VENV) (once, about a minute)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

clean: ## remove the virtual environment and caches (the control plane cache is outside the clone)
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info
