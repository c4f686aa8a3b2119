# The two commands, on a machine that has only Python 3.11 or newer (with venv) and make:
#
#     make run                  set up .venv, then boot the stub guest: `aether run`
#     make run ARGS="u-boot"    the same with arguments for `aether run`
#     make test                 set up .venv for development, then all checks and the tests
#
# Without make, the same by hand:
#
#     python3 -m venv .venv && .venv/bin/pip install -e .
#     .venv/bin/aether run
#
#     .venv/bin/pip install -e '.[dev]'
#     .venv/bin/ruff check && .venv/bin/ruff format --check && .venv/bin/mypy
#     .venv/bin/python -m pytest
#
# PYTHON chooses the interpreter, VENV the environment, PYTEST_ARGS what pytest is given.

PYTHON ?= python3
VENV ?= .venv
ARGS ?=
PYTEST_ARGS ?= -n 2 --dist worksteal
BIN := $(VENV)/bin
.PHONY: run test lint types unit gcc distributions pictures install develop clean
.DELETE_ON_ERROR:

run: install
	@$(BIN)/aether run $(ARGS)

test: lint types unit

lint: develop
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	find el2 stage2 guest_stubs emulator -name '*.[ch]' \
		-exec $(BIN)/clang-format --dry-run -Werror {} +

types: develop
	$(BIN)/mypy

unit: develop
	$(BIN)/python -m pytest $(PYTEST_ARGS)

# The same sources through the second compiler.
gcc: develop
	CROSS_COMPILE=aarch64-linux-gnu- $(BIN)/aether build --all
	CROSS_COMPILE=aarch64-linux-gnu- $(BIN)/python -m pytest $(PYTEST_ARGS) \
		$(wildcard properties/el2 properties/machine properties/stubs)

# The sdist and the wheel: complete, and with the same binary.
distributions: develop
	$(BIN)/python -m pytest -m nightly properties/packaging

# What the README shows, drawn from a run; a test says when it has to be drawn anew.
pictures: install
	$(BIN)/python docs/pictures.py

# A stamp is written last, so an installation that was interrupted is done again.
install: $(VENV)/.installed
develop: $(VENV)/.developing

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
		"Python 3.11 or newer is needed: make PYTHON=python3.12 $(MAKECMDGOALS)")'
	@$(PYTHON) -m venv --clear $(VENV)
	@touch $@

$(VENV)/.installed: $(VENV)/.created pyproject.toml setup.py
	@echo "Installing into $(VENV); the first time this downloads about 150 MB."
	@$(BIN)/python -m pip install --quiet -e .
	@touch $@

$(VENV)/.developing: $(VENV)/.created pyproject.toml setup.py
	@echo "Installing into $(VENV) for development; the first time this downloads about 200 MB."
	@$(BIN)/python -m pip install --quiet -e '.[dev]'
	@touch $(VENV)/.installed $@

clean:
	rm -rf .venv .tox build dist .mypy_cache .ruff_cache .pytest_cache *.egg-info
