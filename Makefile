# All targets but the last two create the virtual environment if it is missing, and install what they need into it: by uv
# if it is on the path, otherwise by pip. uv does not read pip's configuration; it has variables of its own, UV_INDEX_URL...
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
UV := $(shell command -v uv)
INSTALL := $(if $(UV),uv pip install --quiet --python $(BIN)/python,$(BIN)/python -m pip install --quiet)
DEMO := runs/demo
WHEEL := runs/wheel

# As in glow_app/cli.py: threads that spin without limit starve other processes on the same cores.
export GOMP_SPINCOUNT ?= 5000

.PHONY: demo test wheel lint format docs gallery bench lock image pin-base

$(BIN)/python:
	$(if $(UV),uv venv --quiet --seed --python $(PYTHON) $(VENV),$(PYTHON) -m venv $(VENV))

# What the demo needs; it is part of what development needs.
$(BIN)/.demo-installed: pyproject.toml | $(BIN)/python
	@echo "installing into $(VENV): about 1.2 GB with a torch for CPUs, several GB with CUDA; this takes minutes"
	$(INSTALL) -e '.[faces]'
	touch $@

$(BIN)/.installed: pyproject.toml | $(BIN)/python
	@echo "installing into $(VENV): about 2.2 GB with a torch for CPUs, several GB with CUDA; this takes minutes"
	$(INSTALL) -e '.[dev]'
	touch $(BIN)/.demo-installed $@

# Trains on small faces, samples, blends and edits with that model and with the bundled one, and restores a picture of
# the bundled one. Images this small gain nothing from more threads, which are slow on a busy machine.
demo: export OMP_NUM_THREADS ?= 1
demo: $(BIN)/.demo-installed
	rm -rf $(DEMO)
	$(BIN)/glow fit --config faces24 --run_dir $(DEMO)
	$(BIN)/glow test --checkpoint $(DEMO)/best.ckpt
	$(BIN)/glow data render faces --count 1000 --size 24 --seed 1 --output $(DEMO)/faces
	$(BIN)/glow reconstruct $(DEMO)/faces/00000*.png --checkpoint $(DEMO) --output $(DEMO)/pictures
	$(BIN)/glow edit learn --attributes $(DEMO)/faces/attributes.csv --checkpoint $(DEMO)
	$(call pictures,mine,--checkpoint $(DEMO),--direction)
	$(call pictures,bundled,,--without)
	$(BIN)/glow restore $(DEMO)/pictures/bundled/seed000003_*.png --damage --count 4 --checkpoint faces --output $(DEMO)/pictures/restored
	@echo "pictures of the new and the bundled model: $(DEMO)/pictures/mine/, $(DEMO)/pictures/bundled/; reconstructed and restored ones: $(DEMO)/pictures/"

# Pictures of a model: $(1) is the folder, $(2) the model, $(3) the option of an edit.
define pictures
$(BIN)/glow sample $(2) --count 48 --seed 0 --output $(DEMO)/pictures/$(1)
$(BIN)/glow interpolate $(DEMO)/pictures/$(1)/seed000003_*.png $(DEMO)/pictures/$(1)/seed000008_*.png $(2) --output $(DEMO)/pictures/$(1)/blend.png
$(BIN)/glow edit apply $(DEMO)/pictures/$(1)/seed000003_*.png $(3) smiling $(2) --output $(DEMO)/pictures/$(1)/edited
endef

# One more worker than cores, since many tests wait for a browser or for processes.
test: $(BIN)/.installed
	$(BIN)/python -m pytest -n $$(( $$(getconf _NPROCESSORS_ONLN) + 1 )) --maxprocesses 4 --dist worksteal $(if $(SLOW),-m "slow or not slow")

# Installs a wheel and runs commands in an empty folder, to check that the package is complete.
wheel: TRY = cd $(WHEEL)/empty && PYTHONPATH=../site ../../../$(BIN)/python -m glow_app.cli
wheel: $(BIN)/.installed
	rm -rf $(WHEEL) build
	mkdir -p $(WHEEL)/empty
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir $(WHEEL) .
	$(BIN)/python -m pip install --quiet --no-deps --target $(WHEEL)/site $(WHEEL)/*.whl
	rm -r build
	$(TRY) models
	$(TRY) presets
	$(TRY) sample --count 1 --output drawn
	$(TRY) fit --config digits --config prior/maf --data.limit 128 --trainer.max_epochs 1 --run_dir mine
	$(TRY) sample --count 4 --checkpoint mine --output mine/drawn

lint: $(BIN)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(BIN)/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(BIN)/.docs-installed: pyproject.toml $(BIN)/.installed
	$(INSTALL) -e '.[docs]'
	touch $@

docs: $(BIN)/.docs-installed
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html
	@echo "open docs/_build/html/index.html"

gallery: $(BIN)/.installed
	$(BIN)/python docs/make_gallery.py

$(BIN)/.bench-installed: pyproject.toml $(BIN)/.installed
	$(INSTALL) -e '.[bench,serve]'
	touch $@

# Short forms of the benchmarks; results are printed, not saved. Nothing else should run at the same time.
bench: export GLOW_BENCH_SHORT = 1
bench: $(BIN)/.bench-installed
	$(BIN)/python benchmarks/speed.py
	$(BIN)/python benchmarks/quality.py --source digits --shape 1 8 8 --seconds 30
	$(BIN)/python benchmarks/serving.py --seconds 8 --clients 16

# The packages of the container image, with hashes. Torch has its own index and is not in the lists.
LOCK = $(BIN)/uv pip compile --quiet --upgrade --python-version 3.11 --python-platform linux --generate-hashes \
  --no-annotate --custom-compile-command "make lock" $(LOCK_TORCH) \
  --constraint deploy/torch-train.txt --no-emit-package torch --no-emit-package torchvision
LOCK_TORCH ?= --torch-backend cpu
lock: $(BIN)/.installed
	$(INSTALL) uv
	$(LOCK) pyproject.toml --extra serve --excludes deploy/not-for-serving.txt --output-file deploy/requirements-serve.txt
	$(LOCK) pyproject.toml --extra serve --extra demo --extra hub --output-file deploy/requirements-train.txt
	$(LOCK) deploy/requirements-build.in --output-file deploy/requirements-build.txt

PACKAGES ?= serve
TORCH_INDEX_URL ?= https://download.pytorch.org/whl/cpu
image:
	docker build --tag glow --build-arg PACKAGES=$(PACKAGES) --build-arg TORCH_INDEX_URL=$(TORCH_INDEX_URL) \
	  --build-arg REVISION=$$(git describe --always --dirty --abbrev=40 --exclude '*') \
	  --build-arg CREATED=$$(date -u +%Y-%m-%dT%H:%M:%SZ) .

# Pins the base image: writes the current digest of its tag into the Dockerfile.
BASE := python:3.11-slim
pin-base:
	digest=$$(docker buildx imagetools inspect $(BASE) --format '{{.Manifest.Digest}}') && \
	expr "$$digest" : 'sha256:[0-9a-f]\{64\}$$' > /dev/null && \
	sed -i "s|^ARG BASE_IMAGE=.*|ARG BASE_IMAGE=$(BASE)@$$digest|" Dockerfile
