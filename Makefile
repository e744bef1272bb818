# make demo    a repository with data, served; a curl line that answers
# make test    every test, against a real Valkey
# make check   lint, types, imports, generated code
# make proto   write yummy_fast/_proto anew
# All of them set up .venv by themselves and need no root. PYTHON names the interpreter, 3.11 or newer.

PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test check format proto clean

demo: .venv/ready
	$(BIN)/yummy-fast demo

test: .venv/ready
	$(BIN)/python -m pytest

check: .venv/ready
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tests/generated_code.py

format: .venv/ready
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

proto: .venv/ready
	$(BIN)/python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. yummy_fast/_proto/*.proto

.venv/ready: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --editable '.[demo]' --group dev
	touch $@

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
