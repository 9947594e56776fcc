# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
# Two files at a time, of the slow ones, which mostly wait for other processes, three. A file's tests stay together, and
# share what they start.
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile

# Some container images tell Python to compile nothing for good. Every process would compile torch and Ray anew, in
# twice the time; and runs and tests on Ray start hundreds. What is imported is compiled once, what is not, never.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test fast lint bench bench-runs bench-cluster bench-stages clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-compile --constraint constraints.txt --editable '.[dev,bench,service,s3]'
	@touch $@

demo: $(READY)  ## train a run that groks, estimate, detect stages, compare, write the report
	$(BIN)/slt train modular_addition --out runs/grokking --overwrite
	$(BIN)/slt run configs/grokking.yaml

test: $(READY)  ## all tests, fast ones first
	$(PYTEST) -m 'not slow'
	$(PYTEST) -m slow -n 3

fast: $(READY)  ## the fast tests alone
	$(PYTEST) -m 'not slow'

lint: $(READY)  ## ruff, mypy and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(READY)  ## the estimator and its peer side by side on the same work, and against exact values
	$(BIN)/python -m benchmarks estimator

bench-runs: $(READY)  ## what the estimator promises of whole runs: intervals, stages, automatic settings
	$(BIN)/python -m benchmarks runs

bench-cluster: $(READY)  ## the service under load, Ray on this machine, a simulated cluster of 1,000 nodes
	$(BIN)/python -m benchmarks cluster

bench-stages: $(READY)  ## the stage detector and its peers on curves with known stages; writes benchmarks/STAGES.md
	$(BIN)/python -m benchmarks.stages

clean:  ## remove the environment and every result
	rm -rf $(VENV) runs results
