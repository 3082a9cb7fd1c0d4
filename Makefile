# Every command of the house. Each builds the environment it needs, so a fresh clone with
# Python 3.11, make and pip is enough. Another interpreter: make PYTHON=/path/to/python3.11 test

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
EXTRAS := .[platform,client,speech,dev]
IS_311 := import sys; sys.exit(sys.version_info[:2] != (3, 11))

# Asked only when the environment is built: the first of these names that is Python 3.11.
PYTHON ?= $(shell for name in python3.11 python3 python; do \
	"$$name" -c '$(IS_311)' 2>/dev/null && echo "$$name" && break; done)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

.PHONY: help
help: ## Show this help
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: $(INSTALLED) ## Distil a small teacher into a two-step student; results in runs/quickstart
	$(BIN)/python jobs/distill.py --config configs/quickstart.yaml

.PHONY: release
release: $(INSTALLED) ## Train the student that ships anew, in runs/release; some two hours
	bash configs/release-speech.sh
	$(BIN)/python jobs/distill.py --config configs/release.yaml

# A hundred processes of the tests import the sources: where Python is told to keep no bytecode,
# each would compile them anew.
test check: export PYTHONDONTWRITEBYTECODE :=

# The files that take longest come first, so that none is left to run alone at the end.
.PHONY: test
test: lint ## Run the linters, the type checker, the import contracts and every test
	$(BIN)/pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder --durations 10 \
	  tests/e2e tests/integration tests/unit

.PHONY: check
check: lint ## The quick round: the linters, the type checker, the contracts and the unit tests
	$(BIN)/pytest -n auto --maxprocesses 2 --dist loadfile tests/unit

.PHONY: rehearsal
rehearsal: $(INSTALLED) ## Start nodes of Ray as k8s/ says, on this machine, and kill some
	$(BIN)/pytest -m rehearsal -s tests/integration/test_rehearsal.py

.PHONY: lint
lint: $(INSTALLED) ## Run ruff, mypy and import-linter; stop at the first that fails
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: format
format: $(INSTALLED) ## Mend what ruff can mend, then format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: serve
serve: export RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH := serve.middleware:middlewares
serve: export RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD := 0
serve: export RAY_worker_niceness := 0
serve: export RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S := 5
serve: $(INSTALLED) web/node_modules ## Host a student, with a page: http://127.0.0.1:8000
	@$(BIN)/python -m serve.validate configs/serve/local.yaml
	$(BIN)/serve run configs/serve/local.yaml

web/node_modules: web/package.json web/package-lock.json
	@command -v npm >/dev/null || { echo "npm is not installed: the page will not work" >&2; exit 0; }; \
	cd web && npm ci --omit=dev --no-audit --no-fund && touch node_modules

.PHONY: web
web: $(INSTALLED) web/node_modules ## Show a student in the browser; another: make web STUDENT=runs/quickstart/student
	$(BIN)/python -m diffusiontalker.animation.heads web/head.glb
	@test -L web/student || test ! -e web/student || { echo "web/student is a folder; remove it" >&2; exit 1; }
	ln -sfn "$(abspath $(or $(STUDENT),platform/diffusiontalker/shipped))" web/student
	$(BIN)/python -m http.server --bind 127.0.0.1 --directory web

.PHONY: install
install: $(INSTALLED) ## Build the environment in .venv with the pinned versions

# The variable, not the flag -c, because it also holds for the build backend's own environment.
$(INSTALLED): export PIP_CONSTRAINT := constraints.txt
$(INSTALLED): pyproject.toml constraints.txt
	@"$(PYTHON)" -c '$(IS_311)' 2>/dev/null || { \
		echo "Python 3.11 is needed, and '$(or $(PYTHON),python3.11)' is not it." \
			"Install it, or name one: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	"$(PYTHON)" -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '$(EXTRAS)'
	@touch $@

# Beside what pyproject.toml names: the backend asks for editables when it builds an editable.
.PHONY: constraints
constraints: $(INSTALLED) ## Pin anew what a fresh environment gets; rewrites constraints.txt
	@set -e; new="$$(mktemp -d)"; trap 'rm -rf "$$new"' EXIT; \
	$(BIN)/python -m venv "$$new/venv"; \
	backend="$$($(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", \
		"rb"))["build-system"]["requires"])')"; \
	"$$new/venv/bin/pip" install --disable-pip-version-check $$backend editables -e '$(EXTRAS)'; \
	grep '^#' constraints.txt > "$$new/pins"; \
	"$$new/venv/bin/pip" freeze --all --exclude-editable > "$$new/freeze"; \
	sed -e '/^pip==/d' -e 's/+.*//' "$$new/freeze" | LC_ALL=C sort -f >> "$$new/pins"; \
	cp "$$new/pins" constraints.txt

.PHONY: clean
clean: ## Remove caches and builds; .venv and runs/ are kept
	rm -rf dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find platform jobs serve tests -name __pycache__ -type d -prune -exec rm -rf {} +
