# Everything here works on a fresh machine with Python 3.11+, pip and make; `make help` lists it.
PYTHON ?= python3
BIN := .venv/bin
ENV = .venv-torch-$(VERSION)
ENV_PYTHON = $(ENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)/python
# What needs neither the study nor a trainer.
OPTIM_TESTS := tests/optim tests/theory $(patsubst %,tests/test_%.py,warmup clocks files import links) \
	src/rectified/optim src/rectified/theory src/rectified/warmup
# What is read, in American English.
SPELLED := src tests docs benchmarks tools examples $(wildcard *.md)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help study test test-slow test-torch test-keras check docs site bench clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

study: .venv/study ## the Fashion-MNIST study, from nothing to runs/fashion-mnist/report.html
	$(BIN)/rectified study fashion-mnist --out runs/fashion-mnist

test: .venv/dev ## the default tests, doctests included
	$(BIN)/python -m pytest -q -n 2 --dist worksteal

test-slow: .venv/dev ## the tests that take minutes
	$(BIN)/python -m pytest -q -m slow

test-torch: ## the optimizer tests on torch VERSION=2.6.0 [PYTHON=python3.12] [ENV=folder]; first installs 5 to 6 GB on Linux
	$(if $(VERSION),,$(error name a torch, for example: make test-torch VERSION=2.6.0))
	test -x $(ENV_PYTHON) || $(PYTHON) -m venv $(ENV)
	$(ENV_PYTHON) -m pip install -q torch==$(VERSION) -e '.[optim-tests]'
	$(ENV_PYTHON) -m pytest -q -n 2 --dist worksteal -rs $(OPTIM_TESTS)

test-keras: ## the tests of rectified.keras on BACKEND=jax or tensorflow [PYTHON=python3.12]; installs 1 to 2 GB
	$(if $(BACKEND),,$(error name a backend, for example: make test-keras BACKEND=tensorflow))
	test -x .venv-$(BACKEND)/bin/python || $(PYTHON) -m venv .venv-$(BACKEND)
	.venv-$(BACKEND)/bin/python -m pip install -q torch==2.13.0 -e '.[keras,optim-tests]' $(BACKEND)
	KERAS_BACKEND=$(BACKEND) .venv-$(BACKEND)/bin/python -m pytest -q -m "slow or not slow" tests/in_keras src/rectified/keras

check: .venv/dev ## format, lint, types, spelling
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/codespell $(SPELLED)

docs: .venv/dev ## remake the tables and pictures of docs and README
	$(BIN)/python docs/make.py

site: .venv/docs ## the docs site, into build/site; a warning is an error
	$(BIN)/python -m sphinx -b html -q -E -n -W --keep-going -c docs/site -d build/doctrees . build/site

bench: .venv-bench/done .venv-timm/done ## step times and memory against torch and peers, most of an hour
	.venv-bench/bin/rectified bench --also .venv-timm/bin/python --out runs/bench

clean: ## remove what the targets made, but not your runs
	rm -rf .venv .venv-bench .venv-timm .venv-torch-* .venv-jax .venv-tensorflow build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

# One environment; each stamp says which extra it holds. `dev` contains `study` and `docs`.
$(BIN)/python:
	$(PYTHON) -m venv .venv

.venv/%: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[$*]'
	@touch $@

# Peers stay out of the environment that is tested. timm needs torchvision, which need not import for its optimizer.
.venv-bench/done: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python -m pip install -q -c constraints.txt -e '.[bench]'
	@touch $@

.venv-timm/done: constraints.txt
	$(PYTHON) -m venv .venv-timm
	.venv-timm/bin/python -m pip install -q -c constraints.txt torch
	.venv-timm/bin/python -m pip install -q -c constraints.txt --no-deps timm
	@touch $@
