# make demo    a repository with data, served; a curl line that answers
# make test    every test, against a real Valkey
# make test-system    of these, the tests of whole processes; make test-zone, those of values, 5:45 h ahead of UTC
# make coverage    all but those of whole processes, and what they run of each module; fails below the floors
# make mutants     wrong code that no test notices: every tenth mutant of the pure modules, or SHARE=1 MODULES=stores/resp.py
# make pythons     the tests on each Python from 3.11 to 3.14 on the PATH, or PYTHONS="python3.12 python3.13"
# make check   lint, types, imports, generated code
# make differential    thousands of random requests, and pushes, to Feast's own server and to ours; any difference fails;
#              and what `compare` and `--shadow` say of the two
# make sdk     Feast's SDK reads and writes through our server, and without it; the same must come back
# make page    the page for people in Chromium, and a server asked whatever its /openapi.json allows; needs Debian's chromium;
#              make page SCREENSHOTS=docs writes the pictures of docs/page.md
# make native  the native room, compiled anew beside its sources: after a change in yummy_fast/native/*.c
# make fuzz    the native room under the sanitizers of clang for a minute (SECONDS=3600: an hour)
# make faults  every way in which Redis breaks, under load, large requests, and more load than the store can take: the
#              tables in docs/reliability.md
# make perf    the benchmark against Feast and Yummy (half an hour); make perf-full, the original's whole grid;
#              make perf-article, p99 against requests/s beside Feast, and its picture; make pictures, all pictures
# make registries      registries written by Feast to SQLite, PostgreSQL, S3 and GCS; needs Debian's postgresql
# make dist    the wheel and the source distribution, in dist/; make pyz, one executable file with everything in it
# make deploy-check    what deploy/ has, rendered, validated and run, and what dist/ has, installed; needs Debian's systemd
# make locks   write locks/: which versions the image has, and their hashes; make locks UPGRADE=--upgrade, newer ones
# make audit   compare the locked versions with the known vulnerabilities
# make site    the documents as a site, in site/; a link that leads nowhere is an error
# make docs    write docs/metrics.md and docs/settings.md from their tables, docs/commands.md and docs/errors.md from the
#              code, the modules in docs/architecture.md, and the tables of docs/scaling.md from perf/results
# make proto   write yummy_fast/feast_format/_proto anew
# All of them set up their virtual environments (.venv, .venv-demo, .venv-feast) and need no root. PYTHON names the
# interpreter, 3.11 or newer; another one needs an environment of its own: make test PYTHON=python3.14 VENV=.venv-3.14

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
SECONDS ?= 60

.PHONY: native fuzz demo test test-system test-zone coverage mutants pythons check differential sdk page registries faults perf perf-full perf-article pictures format docs proto clean dist pyz deploy-check locks audit site

demo: .venv-demo/ready
	@.venv-demo/bin/yummy-fast demo

test: $(VENV)/ready
	$(BIN)/python -m pytest

test-system: $(VENV)/ready
	$(BIN)/python -m pytest tests/system

test-zone: $(VENV)/ready
	TZ=Asia/Kathmandu $(BIN)/python -m pytest -q tests/config tests/conformance tests/contract tests/feast_format \
		tests/features tests/property tests/stores tests/telemetry tests/test_traps.py

coverage: $(VENV)/ready
	$(BIN)/python -m tests.tools.module_coverage

SHARE ?= 0.1
mutants: $(VENV)/ready
	$(BIN)/python -m tests.tools.mutants --share $(SHARE) $(MODULES)

pythons:
	$(PYTHON) tests/tools/pythons.py $(PYTHONS)

check: $(VENV)/ready
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tests/generated_code.py

differential: $(VENV)/ready .venv-feast/ready
	$(BIN)/python tests/differential/run.py
	$(BIN)/python tests/differential/pushes.py
	$(BIN)/python tests/differential/shadow.py

sdk: $(VENV)/ready .venv-feast/ready
	$(BIN)/python tests/sdk/run.py

page: $(VENV)/page-ready
	SCREENSHOTS=$(SCREENSHOTS) $(BIN)/python -m pytest -q tests/page/drive.py
	$(BIN)/python tests/page/ask_by_schema.py

registries: $(VENV)/ready .venv-feast/ready
	$(BIN)/python tests/registries_sql/run.py

native: $(VENV)/ready
	YUMMY_FAST_NATIVE=1 $(BIN)/python setup.py --quiet build_ext --inplace --force

fuzz: $(VENV)/ready
	$(BIN)/python tests/fuzz/fuzz_native.py --planted .fuzz
	$(BIN)/python tests/fuzz/fuzz_native.py .fuzz -max_total_time=$(SECONDS) -max_len=600 -verbosity=0

faults: $(VENV)/ready
	$(BIN)/python -m tests.faults
	$(BIN)/python -m tests.large_requests
	$(BIN)/python -m tests.overload

dist: $(VENV)/deploy-ready
	rm -rf dist/*.whl dist/*.tar.gz
	$(BIN)/python -m build --outdir dist .

# For one version of Python, as the compiled parts of its dependencies are. It unpacks itself into ~/.shiv when it is
# first run, or below SHIV_ROOT.
pyz: dist
	rm -rf .pyz
	$(BIN)/python -m pip install --quiet --target .pyz --require-hashes --only-binary :all: -r locks/base.txt
	$(BIN)/python -m pip install --quiet --target .pyz --no-deps --no-index dist/*.whl
	$(BIN)/shiv --site-packages .pyz --console-script yummy-fast --compressed --reproducible --output-file dist/yummy-fast.pyz \
		--python "/usr/bin/env $$($(BIN)/python -c 'import sys; print("python%d.%d" % sys.version_info[:2])')"

deploy-check: $(VENV)/deploy-ready .venv-feast/ready pyz
	$(BIN)/python deploy/tests/tools.py
	$(BIN)/python -m pytest deploy/tests

LOCK = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header $(UPGRADE)
locks: $(VENV)/deploy-ready
	$(LOCK) pyproject.toml --output-file locks/base.txt
	$(LOCK) pyproject.toml --extra transforms --output-file locks/transforms.txt
	$(LOCK) pyproject.toml --all-extras --output-file locks/all.txt
	$(LOCK) locks/build.in --output-file locks/build.txt

# Of everything that an extra may bring along.
audit: $(VENV)/deploy-ready
	$(BIN)/python -m pip_audit --strict --require-hashes --disable-pip --requirement locks/all.txt

# All that a document may link to, in the same places.
site: $(VENV)/site-ready
	rm -rf .site && mkdir .site
	git ls-files -z | xargs -0 cp --parents --target-directory .site
	$(BIN)/python -m mkdocs build --strict --quiet

perf: $(VENV)/perf-ready
	$(BIN)/python perf/rivals.py

perf-full: $(VENV)/perf-ready
	$(BIN)/python perf/rivals.py --full --what full

perf-article: $(VENV)/perf-ready
	$(BIN)/python perf/rivals.py --article
	$(BIN)/python perf/plots.py

pictures: $(VENV)/perf-ready
	$(BIN)/python perf/plots.py

format: $(VENV)/ready
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: $(VENV)/ready
	$(BIN)/python -m tests.commands_document
	$(BIN)/python -m tests.errors_document
	$(BIN)/python -m tests.metrics_document
	$(BIN)/python -m tests.rooms_document
	$(BIN)/python -m tests.settings_document
	$(BIN)/python -m tests.scaling_document

proto: $(VENV)/ready
	$(BIN)/python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. yummy_fast/feast_format/_proto/*.proto

$(VENV)/ready: pyproject.toml setup.py $(wildcard yummy_fast/native/*.[ch])
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --editable '.[demo,transforms]' --group dev
	touch $@

$(VENV)/perf-ready: $(VENV)/ready
	$(BIN)/python -m pip install --quiet --group perf
	touch $@

$(VENV)/deploy-ready: $(VENV)/ready
	$(BIN)/python -m pip install --quiet --group deploy
	touch $@

$(VENV)/page-ready: $(VENV)/ready
	$(BIN)/python -m pip install --quiet --group page
	touch $@

$(VENV)/site-ready: $(VENV)/ready
	$(BIN)/python -m pip install --quiet --group site
	touch $@

# The program with its extra demo, and nothing that only developers need: 60 MB instead of 900.
.venv-demo/ready: pyproject.toml
	@echo "Installing yummy-fast into .venv-demo (about 60 MB, and 10 to 40 seconds) ..."
	@$(PYTHON) -m venv .venv-demo
	@.venv-demo/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[demo]'
	@touch $@

# The reference, at the version that our answers are compared with. It has a home of its own.
.venv-feast/ready:
	$(PYTHON) -m venv .venv-feast
	.venv-feast/bin/python -m pip install --quiet 'feast[redis]==0.67.0' boto3 google-cloud-storage 'psycopg[binary]'
	touch $@

clean:
	rm -rf .venv .venv-* .fuzz .pyz .deploy-tools .site site build dist yummy_fast/native/*.so .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
