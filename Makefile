# make demo | test | check | bench: each sets up .venv by itself when it is missing or outdated.
# PYTHON     the interpreter that .venv is made with, 3.11 or newer
# PIP_FLAGS  options of every pip install. On Linux plain pip may fetch the CUDA build of torch, which
#            takes some GB; where a CPU is all there is, name an index of torch's CPU wheels:
#            make demo PIP_FLAGS="--extra-index-url URL"
# DEMO       where make demo writes
# BENCH      where make bench puts scans, a demonstration and runs of its own; hours on two cores
PYTHON ?= python3
PIP_FLAGS ?=
VENV := .venv
BIN := $(VENV)/bin
DEMO ?= demo
BENCH ?= runs/bench
BENCHMARKS := accumulation crashes encoder fusion fuzz layouts loader planner planning report_checks \
	scaling step volume_checks
PIP_INSTALL = $(BIN)/pip install --quiet --disable-pip-version-check $(PIP_FLAGS) -c constraints.txt

.PHONY: demo test check bench format clean

$(VENV)/.installed: pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "mg3d needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1)." \
		"Name another one: make PYTHON=python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP_INSTALL) torch
	$(PIP_INSTALL) -e '.[dev]'
	touch $@

# Every stage goes on from what is already there; kill it and run it again.
demo: $(VENV)/.installed
	$(BIN)/mg3d phantom $(DEMO)/phantom --recipe phantom-tiny
	$(BIN)/mg3d prepare $(DEMO)/phantom/reports.csv $(DEMO)/store --labels $(DEMO)/phantom/labels.csv \
		--recipe phantom-tiny
	$(BIN)/mg3d pretrain phantom-tiny $(DEMO)/store $(DEMO)/run
	$(BIN)/mg3d evaluate $(DEMO)/run --recipe phantom-tiny
	$(BIN)/mg3d report $(DEMO)/run

test: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile

check: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.installed
	for name in $(BENCHMARKS); do $(BIN)/python benchmarks/$$name.py || exit 1; done
	$(BIN)/python benchmarks/encoder.py --cases fp32 --threads 2
	$(BIN)/python benchmarks/audit.py --seed 20261122 --planted
	for level in easy standard; do $(BIN)/python benchmarks/phantom_shortcuts.py --difficulty $$level || exit 1; done
	$(BIN)/python benchmarks/prepare.py $(BENCH)/scans
	rm -rf $(BENCH)/demo
	$(BIN)/python benchmarks/demo.py $(BENCH)/demo
	$(BIN)/python benchmarks/controls.py $(BENCH)/demo/store $(BENCH)/controls
	cp $(BENCH)/controls/controls.json benchmarks/results/controls_phantom_tiny.json
	$(BIN)/python docs/generate_benchmarks.py

format: $(VENV)/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(DEMO)
