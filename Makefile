# Two commands do all the set-up: `make demo` and `make test`. They need Python 3.11 (with venv), make and git.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
DEMO ?= demo
DEMO_OUT ?= demo-out

.PHONY: demo test test-long test-containers lint format install install-dev clean

demo: install
	rm -rf $(DEMO) $(DEMO_OUT)
	$(BIN)/bids_app demo ./$(DEMO)
	$(BIN)/bids_app ./$(DEMO) ./$(DEMO_OUT) participant
	$(BIN)/bids_app ./$(DEMO) ./$(DEMO_OUT) group
	@echo "Look at $(DEMO_OUT)/sub-01.html and $(DEMO_OUT)/group.html, and at the images under $(DEMO_OUT)/sub-01/anat"

# two at a time: most tests keep one processor busy
TWO_AT_A_TIME = --numprocesses=2 --dist=loadfile

test: install-dev lint
	$(BIN)/python -m pytest $(TWO_AT_A_TIME)

test-long: install-dev
	$(BIN)/python -m pytest $(TWO_AT_A_TIME) -m "slow or not slow"

# builds the image and the SIF and runs them, a SLURM array and brainlife's main; tells which of these it could not
test-containers: install-dev
	BIDS_APP_TEST_CONTAINERS=1 $(BIN)/python -m pytest tests/container

lint: install-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

install: $(VENV)/installed
install-dev: $(VENV)/installed-dev

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# requirements.txt pins everything, so that an install today and one in a year are the same
$(VENV)/installed: $(VENV)/bin/python pyproject.toml requirements.txt
	$(BIN)/python -m pip install --quiet --constraint requirements.txt --editable .
	touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --constraint requirements.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) $(DEMO) $(DEMO_OUT)
