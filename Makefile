# Every target makes the virtual environment itself when it is missing.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO := runs/demo

# As glow_app/cli.py does: threads that spin without limit starve a second process on the same cores.
export GOMP_SPINCOUNT ?= 5000

.PHONY: demo test lint format docs gallery bench

$(BIN)/.installed: pyproject.toml
	@echo "installing into $(VENV); a minute or two"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -e '.[dev]'
	touch $@

# Images of 8x8 gain nothing by more threads, and lose much by them where the machine has other work.
demo: export OMP_NUM_THREADS ?= 1
demo: $(BIN)/.installed
	rm -rf $(DEMO)
	$(BIN)/glow fit --config configs/digits.yaml --run_dir $(DEMO)
	$(BIN)/glow test --checkpoint $(DEMO)/best.ckpt
	for t in 0.5 0.7 1.0; do \
	  $(BIN)/glow sample --checkpoint $(DEMO) --temperature $$t --count 40 --seed 0 --output $(DEMO)/pictures/t$$t || exit 1; done
	$(BIN)/glow reconstruct --checkpoint $(DEMO) --source digits --output $(DEMO)/pictures
	$(BIN)/glow interpolate $(DEMO)/pictures/t0.7/seed000003_t0.70.png $(DEMO)/pictures/t0.7/seed000008_t0.70.png \
	  --label 3 8 --checkpoint $(DEMO) --output $(DEMO)/pictures/interpolation.png
	@echo "pictures: $(DEMO)/pictures/t0.5/grid.png, t0.7/grid.png, t1.0/grid.png, comparison.png, interpolation.png"

test: $(BIN)/.installed
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal $(if $(SLOW),-m "slow or not slow")

lint: $(BIN)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(BIN)/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(BIN)/.docs-installed: pyproject.toml $(BIN)/.installed
	$(BIN)/python -m pip install --quiet -e '.[docs]'
	touch $@

docs: $(BIN)/.docs-installed
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html
	@echo "open docs/_build/html/index.html"

gallery: $(BIN)/.installed
	$(BIN)/python docs/make_gallery.py

$(BIN)/.bench-installed: pyproject.toml $(BIN)/.installed
	$(BIN)/python -m pip install --quiet -e '.[bench,serve]'
	touch $@

# The short forms, in ten minutes; results are shown and not kept. Nothing else should run meanwhile.
bench: export GLOW_BENCH_SHORT = 1
bench: $(BIN)/.bench-installed
	$(BIN)/python benchmarks/speed.py --short
	$(BIN)/python benchmarks/quality.py --source digits --shape 1 8 8 --seconds 30
	$(BIN)/python benchmarks/priors.py --config digits --seconds 8 --seeds 1
	$(BIN)/python benchmarks/serving.py --seconds 8 --clients 16
