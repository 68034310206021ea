# Every target works on a machine that has only Python 3.11+ and make (up and down: Docker).
PYTHON ?= python3
BIN := .venv/bin
.DEFAULT_GOAL := help
.PHONY: help install run test check bench bench-dashboard bench-training bench-coordination bench-search-quality bench-scale bench-faults bench-voting bench-predict bench-honesty up down lock clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.venv/installed: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("muster needs Python 3.11 or newer; set PYTHON=")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

install: .venv/installed  ## make .venv with muster in it, exactly as locked

run: .venv/installed  ## search JapaneseVowels, vote, and leave the results in runs/quickstart
	$(BIN)/muster run examples/japanese_vowels.toml --space search_spaces/quickstart.toml --trials 12 --workers 2 --out runs/quickstart

test: .venv/installed  ## run the whole test suite
	$(BIN)/python -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

check: .venv/installed  ## lint, types and the floors
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: bench-training bench-faults bench-voting bench-coordination bench-scale bench-dashboard bench-search-quality  ## every benchmark

bench-training: .venv/installed  ## epoch times against a plain DataLoader loop
	$(BIN)/python -m benchmarks.training

bench-coordination: .venv/installed  ## what the database costs a worker, beside plain Optuna
	$(BIN)/python -m benchmarks.coordination

bench-scale: .venv/installed  ## 200 simulated workers and 10,000 trials on one server; 20 minutes
	$(BIN)/python -m benchmarks.scale

bench-search-quality: .venv/installed  ## the best configurations found, beside plain Optuna; half an hour
	$(BIN)/python -m benchmarks.search_quality

bench-dashboard: .venv/installed  ## fifty readers on a study of 5,000 trials with 100 reports each
	$(BIN)/python -m benchmarks.readers

bench-faults: .venv/installed  ## kill workers, stop databases, cut networks, fill disks
	$(BIN)/python -m benchmarks.faults

bench-voting: .venv/installed  ## choose and vote on a ledger of 500 trials and 100,000 sequences
	$(BIN)/python -m benchmarks.voting

bench-predict: .venv/installed  ## predictions a second against a bare PyTorch loop
	$(BIN)/python -m benchmarks.predicting

bench-honesty: .venv/installed  ## nested estimates against held-out scores; hours, goes on where it stopped
	$(BIN)/python -m benchmarks.honesty japanese_vowels
	$(BIN)/python -m benchmarks.honesty spsw_har
	$(BIN)/python -m benchmarks.honesty heartbeat

up:  ## the stack: MySQL, four workers, dashboard on http://127.0.0.1:8080
	docker compose up --build --scale worker=4

down:  ## stop the stack; its data stays
	docker compose down

lock: .venv/installed  ## write requirements.lock anew from what is installed
	$(BIN)/python -m pip freeze --all --exclude pip --exclude-editable | sed 's/+cpu//' | sort -f > requirements.lock

clean:  ## remove the environment; runs and databases stay
	rm -rf .venv
