# RoadSense without Docker. `make help` lists the targets; CI runs these very lines.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# The CPU build of torch where its index can be reached; requirements.txt says more.
CPU_TORCH := --retries 0 --extra-index-url https://download.pytorch.org/whl/cpu
REQUIREMENTS := $(wildcard requirements*.txt)
SCHEMA := $(BIN)/check-jsonschema --quiet --builtin-schema vendor.
# Files of tests are shared out among at most four cores, those with slow tests first (tests/conftest.py);
# a process for each core, so that torch's threads would only stand in each other's way.
TESTS := OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder
# Options for the program a target runs: make train ARGS="--preset ppo"
ARGS ?=

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

# A virtual environment works in the folder that it was made in alone: one that came along when the
# project was moved or copied is built anew.
VENV_FOLDER := $(shell scripts/venv-folder)
ifneq ($(VENV_FOLDER),)
ifneq ($(VENV_FOLDER),$(CURDIR))
.venv/installed: foreign
endif
endif

.PHONY: foreign
foreign:
	@echo ".venv is that of $(VENV_FOLDER): building one for $(CURDIR)"
	rm -rf .venv

# Installed anew when a list of packages changes.
.venv/installed: $(REQUIREMENTS) pyproject.toml
	python=$$(scripts/preflight) && "$$python" -m venv .venv
	@echo "Installing packages into .venv (once; 0.6 GB to download, 3 GB with PyPI's CUDA build of torch)"
	$(PIP) install $(CPU_TORCH) --no-deps $$(grep -o '^torch==[0-9.]*' requirements.txt)
	$(PIP) install $(addprefix --requirement ,$(REQUIREMENTS))
	$(PIP) install --no-build-isolation --no-deps --editable .
	$(BIN)/roadsense compile
	touch $@

.PHONY: train
train: .venv/installed ## train with SUMO embedded, three to five minutes; options: ARGS="--preset ppo"
	$(BIN)/roadsense train $(ARGS)

.PHONY: model
model: .venv/installed ## rebuild the shipped model (ml/models/convoy.zip) and its safety card; says how long it takes
	$(BIN)/roadsense train --preset convoy --seed 0 $(ARGS)
	$(BIN)/roadsense evaluate ml/models/saved/deep_sets_final.zip --out evaluations/model --force

.PHONY: tensorboard
tensorboard: .venv/installed ## show the runs on http://localhost:6006
	$(BIN)/tensorboard --logdir runs --samples_per_plugin images=100 $(ARGS)

.PHONY: watch
watch: .venv/installed # runs as they go, with the newest model's episode, on http://localhost:6007; ARGS="--port 6008"
	mkdir -p runs
	$(BIN)/roadsense watch --serve runs $(ARGS)

.PHONY: board
board: .venv/installed ## export the shipped model to C (build/board), run it on three cores and print what it takes
	rm -rf build/board && mkdir -p build
	$(BIN)/roadsense export ml/models/convoy.zip --out build/board $(ARGS)

.PHONY: test-fast
test-fast: .venv/installed ## run the tests that need neither SUMO nor long, in two minutes on two cores
	$(TESTS) -m "not (sumo or slow or compose or soak or statistics)" $(ARGS)

.PHONY: test
test: .venv/installed ## run all tests that need no Docker, in a quarter of an hour on two cores; ARGS="-n 0" for one core
	$(TESTS) -m "not (compose or soak)" $(ARGS)

.PHONY: soak
soak: .venv/installed # faults, random input and episodes by the thousand; takes hours
	ROADSENSE_FUZZ_EXAMPLES=50000 $(BIN)/pytest tests/unit/commands/test_bad_input.py -k "param or config"
	ROADSENSE_FUZZ_EXAMPLES=2000 $(BIN)/pytest tests/unit/commands/test_bad_input.py -k "not param and not config"
	ROADSENSE_FUZZ_EXAMPLES=5000 $(BIN)/pytest tests/unit/espnow_emulator/test_radio_exact_oracle.py -k many_more
	$(BIN)/pytest -s -m soak $(ARGS)

.PHONY: test-compose
test-compose: .venv/installed ## run the tests that need a Docker Engine
	$(BIN)/pytest -m compose $(ARGS)

.PHONY: smoke
smoke: ## train a little in containers, from a copy of this folder
	.ci/compose-smoke

.PHONY: lint
lint: .venv/installed ## check style, types, imports, scripts, images and spelling; takes two minutes
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/bandit --quiet --configfile pyproject.toml --recursive ml scripts services sumo-configs
	$(BIN)/shellcheck $$(git grep -lE '^#!.*(bash|sh)$$')
	$(BIN)/hadolint services/*/Dockerfile
	$(BIN)/yamllint --strict .
	$(SCHEMA)compose-spec docker-compose.yml
	$(SCHEMA)github-workflows .github/workflows/*.yml
	$(SCHEMA)dependabot .github/dependabot.yml
	$(SCHEMA)github-issue-forms .github/ISSUE_TEMPLATE/*.yml
	$(SCHEMA)citation-file-format CITATION.cff
	$(BIN)/codespell $$(git ls-files)
	$(BIN)/codespell --dictionary .ci/words.txt $$(git ls-files ':!.ci/words.txt') # the project's terms

.PHONY: docs
docs: .venv/installed ## build the site (build/site/index.html) from docs/ and the code; a dead link or an orphan ends it
	OMP_NUM_THREADS=1 $(BIN)/sphinx-build --fail-on-warning --keep-going --quiet --jobs auto docs build/site

.PHONY: format
format: .venv/installed # format the code and mend what ruff can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: clean
clean: ## remove .venv and caches; runs and models stay
	rm -rf .venv build *.egg-info .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find ml tests services -name __pycache__ -prune -exec rm -r {} +
