# Each command sets up what it needs. torch is installed first and pinned: an unpinned one may pull gigabytes of CUDA.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Half of the time is waiting for processes and deadlines: four files at a time for two cores. The longest come first.
PARALLEL := -n 4 --dist loadfile --no-loadscope-reorder -p no:benchmark

# Bytecode is written whatever the environment says: what workers and hundreds of processes import is compiled once.
TESTING := PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1

.PHONY: demo serve test test-slow fuzz check lint types docs pictures coverage bench bundle pretrain

demo: $(READY)
	$(BIN)/pellucid demo -o out/demo

serve: $(READY)
	mkdir -p out/demo
	$(BIN)/pellucid serve --models out --data out/demo --record out/record

test: $(READY)
	$(TESTING) $(BIN)/python -m pytest -q -m "not slow" $(PARALLEL)

# The same tests, with every line that they and the processes they start reach counted; under the floor it fails.
coverage: $(READY)
	$(TESTING) $(BIN)/python -m pytest -q -m "not slow" $(PARALLEL) --cov --cov-report term

test-slow: $(READY)
	$(BIN)/python -m pytest -q -m slow --timeout 1800

# What parses bytes from outside, a minute for each parser; SECONDS=3600 PARSERS="image mask" for longer and fewer.
fuzz: $(READY)
	$(BIN)/pip install --quiet --constraint constraints.txt atheris
	OMP_NUM_THREADS=1 nice $(BIN)/python tests/fuzz/run.py --seconds $(or $(SECONDS),60) $(PARSERS)

# What has to pass before a merge. The tests also run the README and compare what is generated with its source.
check:
	$(MAKE) lint
	$(MAKE) types
	$(MAKE) docs
	$(MAKE) coverage

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(READY)
	$(BIN)/mypy

# The documentation as a site in out/site, built without a network; a warning, a broken link or a misspelled word is an error.
# To read it: open out/site/index.html; nothing in it is loaded from elsewhere.
docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict
	$(BIN)/codespell --ignore-words docs/words.txt --skip "*.png,*.svg" *.md docs src book deploy examples

# The pictures of the pages, by chromium, and the pages of the notebooks in examples/, by running them: some minutes.
pictures: $(READY)
	$(BIN)/python -m book.pictures
	$(BIN)/python -m book.notebooks

# Wheels of pellucid and all that it needs, for a machine without a network; EXTRAS=serve,onnx takes more with it.
bundle: $(READY)
	$(BIN)/python -m deploy.bundle -o dist/bundle --extras "$(or $(EXTRAS),serve)"

bench: $(READY)
	$(BIN)/python -m pytest -q benchmarks --benchmark-only --benchmark-columns median,iqr,rounds --benchmark-sort name

pretrain: $(READY)
	$(BIN)/torchrun --standalone --nproc-per-node auto -m pretraining.train --weights $(WEIGHTS) $(OPTIONS)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt torch==2.13.0
	$(BIN)/pip install --quiet --constraint constraints.txt hatchling editables
	$(BIN)/pip install --quiet --constraint constraints.txt --no-build-isolation --editable ".[dev]"
	$(BIN)/pip install --quiet --constraint constraints.txt --no-deps axe-playwright-python
	touch $(READY)
