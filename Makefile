# Everything that is done with this tree; `make` alone lists it.
#
#   PYTHON   interpreter that the virtualenv is made with (python3, 3.11 or later)
#   VENV     the virtualenv (.venv)
#   CONFIG   what `make run` runs (etc/vdp.toml)
#   FOR      how long `make soak` (60m) and `make fuzz` (15m) run
#   ARGS     more arguments for pytest: make test ARGS="-k gretap -x"

PYTHON ?= python3
VENV ?= .venv
CONFIG ?= etc/vdp.toml
ARGS ?=
FOR ?= 60m

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules

export PYTHON PIP_DISABLE_PIP_VERSION_CHECK := 1
bin := $(abspath $(VENV))/bin
pip := PATH="$(bin):$$PATH" $(bin)/python -m pip install --quiet --no-build-isolation --config-settings=build-dir=build/release
native := vdp/engine/_native.abi3.so
sources := pyproject.toml meson.build meson.options tools/left_out.py \
    $(shell find vdp plugins -name '*.py' -o -name '*.[ch]' -o -name '*.def' -o -name meson.build)

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

run: setup ## set up what is needed, then run the dataplane of etc/vdp.toml (as root)
	@if [ "$$(id -u)" = 0 ]; then exec $(bin)/vdp -c $(CONFIG); fi; \
	if command -v sudo >/dev/null; then echo "vdp opens TAP devices and raw sockets: sudo"; \
	exec sudo $(bin)/vdp -c $(CONFIG); fi; \
	echo "vdp opens TAP devices and raw sockets: run this as root" >&2; exit 1

setup: $(VENV)/installed $(native) ## build and install into the virtualenv

test: test-c test-python ## C tests under sanitizers, then pytest (as root: all of it)

test-c: build/asan/configured ## the engine's own tests under ASan and UBSan
	@export PATH="$(bin):$$PATH"; \
	[ -n "$$(meson test -C build/asan --list 2>/dev/null)" ] || { echo "no C tests: cmocka is missing" >&2; exit 1; }; \
	meson test -C build/asan --print-errorlogs

test-python: $(VENV)/tested-with setup ## pytest
	@$(bin)/python -m pytest $(ARGS)

check: lint types test ## lint, types and test

lint: $(VENV)/tested-with ## ruff, as linter and for the format
	@$(bin)/ruff check .
	@$(bin)/ruff format --check .

types: $(VENV)/tested-with ## mypy --strict
	@$(bin)/mypy

bench: $(VENV)/tested-with setup ## a benchmark: make bench ARGS=packets (as root; docs/performance.md)
	@PYTHONPATH=.:plugins $(bin)/python -m bench $(or $(ARGS),tunnel)

faults: $(VENV)/tested-with setup ## the fault matrix: make faults ARGS="F1 F6 --times 2" (as root; docs/reliability.md)
	@PATH="$(bin):$$PATH" PYTHONPATH=.:plugins $(bin)/python -m tools.faults --json build/score/faults.json $(ARGS)

soak: $(VENV)/tested-with setup ## traffic and faults by chance: make soak FOR=60m (as root)
	@PYTHONPATH=.:plugins $(bin)/python -m tools.faults.soak --for $(FOR) --json build/score/soak.json $(ARGS)

score: $(VENV)/tested-with setup ## what a release is judged by, R1 to R14; runs what is missing (as root, hours)
	@PATH="$(bin):$$PATH" PYTHONPATH=.:plugins $(bin)/python -m tools.score --run --docs

fuzz: $(VENV)/tested-with setup ## fuzzers, engine against its twin, coverage, planted bugs: make fuzz FOR=15m (needs clang)
	@PYTHONPATH=.:plugins $(bin)/python -m tests.fuzz run --jobs $$(nproc) --for $(if $(filter file,$(origin FOR)),15m,$(FOR))
	@PYTHONPATH=.:plugins $(bin)/python -m tests.fuzz compare
	@PYTHONPATH=.:plugins $(bin)/python -m tests.fuzz worst
	@PYTHONPATH=.:plugins $(bin)/python -m tests.fuzz coverage
	@PYTHONPATH=.:plugins $(bin)/python -m tests.fuzz planted

fuzz-planted: $(VENV)/tested-with setup ## whether the fuzzers find bugs that are put in on purpose (needs clang)
	@PYTHONPATH=.:plugins $(bin)/python -m tests.fuzz planted

docs: setup $(VENV)/tested-with ## write the generated pages again
	@PYTHONPATH=. $(bin)/python -m vdp.config.reference > docs/configuration.md
	@PYTHONPATH=. $(bin)/python -m vdp.metrics.reference > docs/metrics.md
	@PYTHONPATH=. $(bin)/python -m tools.drops_page > docs/drops.md
	@PYTHONPATH=. $(bin)/python -m tools.errors_page > docs/errors.md
	@PYTHONPATH=.:plugins $(bin)/python -m vdp config schema > etc/vdp.schema.json
	@PYTHONPATH=.:plugins $(bin)/python -m tools.protocols_page > docs/protocols.md
	@PYTHONPATH=.:plugins $(bin)/python -m tests.conformance.page > docs/conformance.md
	@PYTHONPATH=.:plugins $(bin)/python -m tools.api_pages docs/api
	@PYTHONPATH=. $(bin)/python -m tools.dashboards write

dashboards: setup $(VENV)/tested-with ## vdp under traffic and faults, and Prometheus with its dashboards (as root)
	@PYTHONPATH=.:plugins $(bin)/python -m tools.dashboards show

dashboards-check: $(VENV)/tested-with ## hold etc/grafana against Grafana's own types (needs npm)
	@PYTHONPATH=. $(bin)/python -m tools.dashboards check

site: setup $(VENV)/tested-with ## the documentation as a site and as man pages: build/site
	@PYTHONPATH=.:plugins $(bin)/python -m tools.site build/site
	@echo "build/site/html/index.html, and for man -l: $$(cd build/site/man && echo *)"

conformance: test-c $(VENV)/tested-with setup ## run all tests, and write what they show (as root)
	@$(bin)/python -m pytest -p tests.conformance.plugin --conformance docs/conformance.md $(ARGS)

dist: $(VENV)/tested-with ## a release in dist/: source archive, wheel, bill of materials, checksums
	@$(bin)/python -m tools.dist dist

clean: ## remove what was built; the virtualenv stays, and is filled anew
	@rm -rf build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis $(native) $(VENV)/installed
	@find vdp plugins tests tools bench -name __pycache__ -type d -prune -exec rm -rf {} +

# Each file below says that a step was done, and is older than what the step depends on
# when it has to be done again.

$(VENV)/build-tools: pyproject.toml tools/debian.sh
	@sh tools/debian.sh build
	@[ -x $(bin)/python ] || $(PYTHON) -m venv $(VENV)
	@echo "installing build tools into $(VENV)"
	@$(bin)/python -c 'import tomllib; t = tomllib.load(open("pyproject.toml", "rb")); \
	    print(*t["build-system"]["requires"], "ninja", sep="\n")' > $@.txt
	@$(bin)/python -m pip install --quiet -r $@.txt
	@touch $@

$(VENV)/installed: $(VENV)/build-tools $(sources)
	@echo "building and installing vdp into $(VENV)"
	@$(pip) .
	@touch $@

# The same extension in the tree, so that tests run what is here, not what is installed.
$(native): $(VENV)/installed
	@install -m 755 build/release/$(native) $(native)

$(VENV)/tested-with: $(VENV)/build-tools
	@sh tools/debian.sh build test
	@echo "installing test tools into $(VENV)"
	@$(pip) '.[dev]'
	@touch $@ $(VENV)/installed

# Configuring finds the tests, so a new file in tests/c asks for it again.
build/asan/configured: $(VENV)/tested-with tests/c meson.build
	@PATH="$(bin):$$PATH" meson setup $$([ ! -d build/asan ] || echo --reconfigure) build/asan -Dwerror=true \
	    -Dextension=false -Db_sanitize=address,undefined -Db_lundef=false >/dev/null
	@touch $@

.PHONY: help run setup test test-c test-python check lint types bench docs dashboards dashboards-check site conformance dist clean faults soak score fuzz fuzz-planted
