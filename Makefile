# Two commands: `make demo` and `make test`. Both set up .venv by themselves.
PYTHON ?= python3
VENV := .venv
ifeq ($(OS),Windows_NT)
BIN := $(VENV)/Scripts
else
BIN := $(VENV)/bin
endif
PY := $(BIN)/python
OUT ?= cordgap-report

.PHONY: demo test test-fast coverage mutants lint bench bench-guard validation fuzz docs pictures dist test-minimum checksums licences clean

# The package alone; remade when its description changes.
$(VENV)/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "cordgap needs Python 3.11 or newer; $(PYTHON) is older. Try: make PYTHON=python3.11 ..."; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "Python cannot make a virtual environment here. On Debian: apt-get install python3-venv"; exit 1; }
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PY) -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

$(VENV)/.installed-docs: $(VENV)/.installed
	$(PY) -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	@touch $@

# Exit code 1 says that the plan exceeds its cord limit, which is what this one is for.
demo: $(VENV)/.installed
	$(BIN)/cordgap analyze plans/coverage-first --out $(OUT) || test $$? -eq 1

# Every test: first what only calculates, in so many processes, a file in one of them; then, one by
# one, what waits for a browser, a server or the clock.
WORKERS ?= 2
test: $(VENV)/.installed-dev
	$(PY) -m pytest -n $(WORKERS) --dist loadfile -m "not alone"
	$(PY) -m pytest -m alone

# What is quick: no test that takes seconds, no browser, no server, no fuzzing.
test-fast: $(VENV)/.installed-dev
	$(PY) -m pytest -n $(WORKERS) --dist loadfile -m "not slow"

# Lines and branches of the rooms that make numbers, without numba's machine code where that hides
# them; fails where a room is below the limit of pyproject.toml.
COVERED := tests/case tests/dicom tests/dvh tests/limits tests/separation tests/oracle tests/faults \
  tests/check/test_stored.py
# Slow ones, that alone reach a whole file: previous radiation, part of the sides, before and after.
COVERED_SLOWLY := tests/end_to_end/test_cli_prior.py tests/limits/test_reirradiation.py \
  tests/separation/test_reach.py tests/test_comparison.py tests/selftest/test_selftest.py
coverage: $(VENV)/.installed-dev
	rm -rf build/coverage
	mkdir -p build/coverage
	$(PY) -m coverage run -m pytest -q -m "not slow" $(COVERED)
	$(PY) -m coverage run -m pytest -q $(COVERED_SLOWLY) \
	  -k "not test_selftest or tables or line_ends"
	NUMBA_DISABLE_JIT=1 $(PY) -m coverage run -m pytest -q tests/dvh/test_loops.py \
	  "tests/separation/test_displaced.py::test_every_way_gives_what_all_points_give[python-True]"
	$(PY) -m coverage combine -q
	$(PY) -m coverage json -q -o build/coverage/report.json
	$(PY) -m coverage report
	$(PY) -m tests.rooms build/coverage/report.json

# Small changes of the code that the tests should notice (docs/mutants.md); outside CI.
MUTANTS ?= 200
SEED ?= 1
MINUTES ?= 60
mutants: $(VENV)/.installed-dev
	$(PY) -m pip install --quiet --disable-pip-version-check --editable '.[dev,mutants]'
	$(PY) -m tests.mutants dvh --sample $(MUTANTS) --seed $(SEED) --minutes $(MINUTES)
	$(PY) -m tests.mutants separation --sample $(MUTANTS) --seed $(SEED) --minutes $(MINUTES)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check src tests benchmarks docs/site release
	$(BIN)/mypy --strict

# The site; every warning is an error.
docs: $(VENV)/.installed-docs
	$(PY) -m sphinx -q -W --keep-going -j auto -b html -c docs/site -d build/doctrees docs build/site
	@echo "The site: build/site/index.html"

# The pictures of the site, by the code as it is; needs Chromium and poppler-utils.
pictures: $(VENV)/.installed-dev
	$(PY) docs/site/rooms.py
	$(PY) docs/site/pictures.py

bench: $(VENV)/.installed-dev
	$(PY) benchmarks/bench_dvh.py
	$(PY) benchmarks/bench_cli.py
	$(PY) benchmarks/speed.py --quick

# Some minutes on two cores; writes the tables of docs/reliability.md anew.
fuzz: $(VENV)/.installed-dev
	$(PY) -m tests.fuzz.run --count 5000 --seed 1 --docs --out build/fuzz.jsonl --failures build/fuzz

# Accuracy and speed ratios on a small set against recorded limits.
bench-guard: $(VENV)/.installed-dev
	$(PY) benchmarks/guard.py

# Every table of docs/validation.md anew; ten minutes on an idle machine.
validation: $(VENV)/.installed-dev
	$(PY) benchmarks/validation.py

$(VENV)/.installed-release: $(VENV)/.installed
	$(PY) -m pip install --quiet --disable-pip-version-check --editable '.[release]'
	@touch $@

# sdist, wheel (made from the sdist), both tried in a clean environment, and its SBOM: dist/.
dist: $(VENV)/.installed-release
	rm -rf dist
	$(PY) -m build --outdir dist . > /dev/null
	$(PY) release/try_out.py dist/*.whl --sbom dist/

# The tests of the numbers with the oldest dependencies that pyproject.toml allows.
test-minimum: $(VENV)/.installed
	$(PY) release/try_out.py --minimum

# After a constraint table was changed on purpose: records its SHA-256 for `cordgap selftest`.
checksums: $(VENV)/.installed
	$(PY) release/checksums.py

# docs/licences.md from what the installed packages state; fails where one is under the GPL.
licences: $(VENV)/.installed
	$(PY) release/licences.py

clean:
	rm -rf $(VENV) dist .pytest_cache .mypy_cache .ruff_cache .hypothesis $(OUT)
