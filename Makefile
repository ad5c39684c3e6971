# Every target makes its own environment first; nothing else is needed but Python 3.11 or newer.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := -m pip install --quiet --disable-pip-version-check
# Interpreters of other minor versions, where the machine has them: capture works differently on them.
OTHERS := $(foreach v,3.12 3.13,$(firstword $(wildcard $(HOME)/.pyenv/versions/$(v)*/bin/python) $(shell command -v python$(v) 2>/dev/null)))

.PHONY: help demo test test-colab test-others crossings check coverage bench bench-torch torture wheelhouse clean
help:  ## Show the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: .venv-demo/.installed  ## See a real kernel killed in mid-training and its state come back
	.venv-demo/bin/python scripts/demo.py

# One test more than there are cores: a kernel that starts, or a store that is far, is waited for.
test: $(VENV)/.installed  ## Set up and run the tests (under ten minutes on two cores)
	$(BIN)/python -m pytest -n 3 -m 'not torture'

test-colab: .venv-colab/.installed  ## The same with the versions of Colab's and Kaggle's images
	.venv-colab/bin/python -m pytest -n 3 -m 'not torture'

test-others: $(foreach python,$(OTHERS),.venv-$(notdir $(patsubst %/bin/,%,$(dir $(python))))/.installed)  ## What differs between Python versions, on each that is here
	@for python in $(patsubst %/.installed,%/bin/python,$^); do \
		echo "== $$($$python --version)"; \
		$$python -m pytest -n 3 -m 'not torture' tests/capture tests/codecs tests/session tests/notebook || exit 1; \
	done

crossings: $(VENV)/.installed  ## Keep under each of four stacks and restore under each; write docs/crossings.md
	PYTHONPATH=scripts $(BIN)/python -m crossings

check: $(VENV)/.installed  ## Lint, types and layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv-bench/.installed $(if $(filter workloads,$(or $(ONLY),workloads)),.venv-kishu/.installed)  ## Measure, and write docs/benchmarks.md (ONLY="stall drag": those sections; QUICK=1: whether it works)
	env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE PYTHONPATH=scripts .venv-bench/bin/python -m bench $(if $(QUICK),--quick) $(ONLY)

bench-torch: .venv-bench/.installed .venv-kishu/.installed  ## Give the benchmarks torch (large), which they do without otherwise
	.venv-bench/bin/python $(PIP) -e '.[bench,bench-torch]'
	.venv-kishu/bin/python $(PIP) -r scripts/bench/kishu.txt torch

coverage: .venv-coverage/.installed .venv-coverage-colab/.installed  ## Keep and restore every kind of object in tests/kinds, and write docs/coverage.md (large)
	.venv-coverage/bin/python scripts/coverage.py newest $(ONLY)
	.venv-coverage-colab/bin/python scripts/coverage.py colab $(ONLY)
	$(if $(ONLY),,.venv-coverage/bin/python -m pytest tests/notebook/test_things_in_play.py)

torture: $(VENV)/.installed  ## Long fault campaigns: kills at random instants, each followed by a proof
	$(BIN)/python -m pytest -m torture --timeout 3600

wheelhouse: $(VENV)/.installed  ## Collect wheels for Kaggle without internet (OWNER=your Kaggle name)
	$(BIN)/python scripts/wheelhouse.py $(if $(OWNER),--owner $(OWNER))

clean:  ## Remove everything that was made here
	rm -rf .venv* build dist wheelhouse .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

.venv/.installed: pyproject.toml
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python $(PIP) --upgrade pip
	$(@D)/bin/python $(PIP) -e '.[test,dev]'
	@touch $@

.venv-demo/.installed: pyproject.toml
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python $(PIP) -e '.[demo]'
	@touch $@

.venv-bench/.installed: pyproject.toml
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python $(PIP) -e '.[bench]'
	@touch $@

.venv-kishu/.installed: scripts/bench/kishu.txt
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python $(PIP) -r scripts/bench/kishu.txt
	@touch $@

.venv-colab/.installed: pyproject.toml scripts/colab-image.txt
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python $(PIP) -e '.[test]' -c scripts/colab-image.txt
	@touch $@

.venv-coverage/.installed: pyproject.toml
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python $(PIP) -e '.[coverage]'
	@touch $@

.venv-coverage-colab/.installed: pyproject.toml scripts/colab-image.txt
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python $(PIP) -e '.[coverage]' -c scripts/colab-image.txt
	@touch $@

define other
.venv-$(notdir $(patsubst %/bin/,%,$(dir $(1))))/.installed: pyproject.toml
	$(1) -m venv $$(@D)
	$$(@D)/bin/python $$(PIP) -e '.[test]'
	@touch $$@
endef
$(foreach python,$(OTHERS),$(eval $(call other,$(python))))
