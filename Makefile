# make test    everything is set up, then linted, type-checked and tested
# make demo    everything is set up, then the debug recipe runs end to end
# TORCH=...    another PyTorch than the CPU build, such as TORCH="torch --index-url https://download.pytorch.org/whl/cu128"

PYTHON ?= python3
TORCH ?= torch==2.13.0 --extra-index-url https://download.pytorch.org/whl/cpu --retries 1
VENV := .venv
BIN := $(VENV)/bin
DEMO := runs/demo

.PHONY: test demo slow clean

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
	$(BIN)/pytest

slow: $(VENV)/installed
	$(BIN)/pytest -m slow

demo: $(VENV)/installed
	rm -rf $(DEMO)
	$(BIN)/sepasr simulate $(DEMO) --recipe recipes/debug.yaml
	$(BIN)/sepasr pretrain-sep $(DEMO)
	$(BIN)/sepasr pretrain-asr $(DEMO)
	$(BIN)/sepasr joint-finetune $(DEMO)
	$(BIN)/sepasr separate $(DEMO) --split test
	$(BIN)/sepasr transcribe $(DEMO) --split test
	$(BIN)/sepasr score $(DEMO) --split test --examples 5

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache
