.PHONY: demo demo-real test slow gpu check wheel bench bench-latent bench-pool bench-real bench-wirework gallery pool organisms clean

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

demo: $(INSTALLED)  ## audit the bundled pool and write its report
	$(BIN)/unmask demo

demo-real: $(INSTALLED)  ## audit a real chat model, SmolLM2-135M-Instruct (under 10 minutes on 2 cores)
	$(BIN)/python tools/get-smollm2
	$(BIN)/unmask audit build/smollm2-135m-instruct --task examples/capitals.jsonl --items 100

test: $(INSTALLED)  ## every test that is not marked slow
	tools/install-chromium
	tools/install-latex
	$(BIN)/python tools/get-smollm2 || echo "The tests on a real chat model will be skipped." >&2
	$(BIN)/pytest -q

slow: $(INSTALLED)  ## the tests that take minutes
	$(BIN)/pytest -q -m 'slow and not gpu'

gpu: $(INSTALLED)  ## what must be alike on a CUDA device and on the CPU, and the engine's speed there
	$(BIN)/pytest -q -m gpu
	$(BIN)/python -m benchmarks.gpu

check: $(INSTALLED)  ## format, lint, layers, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/pyright

wheel:  ## the built wheel in a clean environment with the newest dependencies, on one organism
	PYTHON=$(PYTHON) tools/try-wheel

bench-real: $(INSTALLED)  ## rules of ranking, and audits of benign models, on a real chat model (long)
	$(BIN)/python tools/get-smollm2
	$(BIN)/python -m benchmarks.real

bench: $(INSTALLED)  ## speed and memory, as ratios against peers in one run (about half an hour)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	$(BIN)/python -m benchmarks

bench-latent: $(INSTALLED)  ## what searches find in the pool, and how fast (about half an hour)
	$(BIN)/python -m benchmarks.latent

pool: $(INSTALLED)  ## plant the standard pool into build/pool (about half an hour on 2 cores)
	$(BIN)/python -m unmask.organisms.standard --out build/pool

bench-pool: pool  ## arms against the standard pool: found, accused, AUROC (under 45 minutes)
	$(BIN)/python -m benchmarks.organisms

bench-wirework: $(INSTALLED)  ## drawings, times and contraction against peers (a few minutes)
	tools/install-graphviz
	$(BIN)/python -m benchmarks.wirework

gallery: $(INSTALLED)  ## every kind of figure with its code, as docs/gallery.html
	$(BIN)/python -m wirework.gallery --out docs

organisms: $(INSTALLED)  ## train the bundled pool again (about half an hour on 2 cores)
	$(BIN)/python -m unmask.organisms.recipes --out src/unmask/organisms/pool
	$(BIN)/unmask demo --record

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(f"expected Python 3.11 or later, got {sys.version.split()[0]}. Set PYTHON=python3.11, or later.") if sys.version_info < (3, 11) else 0'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[train,manifold,export,draw,dev]'
	touch $@

clean:
	rm -rf .venv build dist .pytest_cache .ruff_cache .import_linter_cache
