# make test    everything is set up, then linted, type-checked and tested
# make parity  ESPnet is installed in a folder of its own and our models are compared with its, with the same weights
# make demo    everything is set up, then the model that comes with the package is tried on mixtures new to it
# make smoke   everything is set up, then the debug recipe runs end to end: every command, training included
# make benchmarks    the same ESPnet and other peers are timed beside us
# TORCH=...    another PyTorch than the CPU build, such as TORCH="torch --index-url https://download.pytorch.org/whl/cu128"

PYTHON ?= python3
TORCH ?= torch==2.13.0 --extra-index-url https://download.pytorch.org/whl/cpu --retries 1
VENV := .venv
BIN := $(VENV)/bin
DEMO := runs/demo
SMOKE := runs/debug
PEERS := .peers
BENCHMARKS := startup tfgridnet ssl_features mvdr beam_search simulate score long_form

.PHONY: test demo smoke slow parity benchmarks clean

# Made again only when the dependencies change.
$(VENV)/installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(TORCH)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@

test: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal

slow: $(VENV)/installed
	$(BIN)/pytest -m slow

# Without dependencies, as they would bring another PyTorch; what ESPnet imports is listed in full.
$(PEERS)/installed: peers.txt $(VENV)/installed
	rm -rf $(PEERS)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target $(PEERS) -r $<
	touch $@

parity: $(PEERS)/installed
	PYTHONPATH=$(PEERS) $(BIN)/pytest tests/parity -m "slow or not slow"

# Asks first whether the model is there.
demo: $(VENV)/installed
	@$(BIN)/sepasr info bundled > /dev/null
	rm -rf $(DEMO)
	$(BIN)/sepasr simulate $(DEMO) --recipe recipes/bundled/demo.yaml
	$(BIN)/sepasr separate $(DEMO) --split test --model bundled
	$(BIN)/sepasr transcribe $(DEMO) --split test --model bundled
	$(BIN)/sepasr score $(DEMO) --split test --examples 10
	$(BIN)/sepasr report $(DEMO) --split test

smoke: $(VENV)/installed
	rm -rf $(SMOKE)
	$(BIN)/sepasr simulate $(SMOKE) --recipe recipes/debug.yaml
	$(BIN)/sepasr pretrain-sep $(SMOKE)
	$(BIN)/sepasr pretrain-asr $(SMOKE)
	$(BIN)/sepasr joint-finetune $(SMOKE)
	$(BIN)/sepasr separate $(SMOKE) --split test
	$(BIN)/sepasr transcribe $(SMOKE) --split test
	$(BIN)/sepasr score $(SMOKE) --split test --examples 5

benchmarks: $(PEERS)/installed
	set -e; for name in $(BENCHMARKS); do PYTHONPATH=$(PEERS) $(BIN)/python -W ignore benchmarks/$$name.py; done

clean:
	rm -rf $(VENV) $(PEERS) build *.egg-info .mypy_cache .ruff_cache .pytest_cache
