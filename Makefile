# make demo | test | check | bench: each sets up .venv by itself when it is missing or outdated.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO ?= demo

.PHONY: demo test check bench format clean

$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
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
	for name in encoder phantom_shortcuts; do $(BIN)/python benchmarks/$$name.py || exit 1; done

format: $(VENV)/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(DEMO)
