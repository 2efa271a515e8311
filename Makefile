# `make demo` and `make test` do their whole set-up; nothing has to be installed first but Python 3.11 and make.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: help demo bench test proofs check format docs lock sbom audit clean

help:  ## say what there is
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 16

demo: $(VENV)/runtime  ## real files through the shim, 0 to 100 % and back; FILES="a.pdf b.md" for your own
	@$(BIN)/shim demo $(FILES)

bench: $(VENV)/runtime  ## uploads and routed calls against other ways, to docs/benchmarks.md; QUICK=1 for two minutes
	@$(BIN)/shim bench $(if $(QUICK),--quick) $(foreach row,$(ONLY),--only $(row))

test: check $(VENV)/browser $(VENV)/prometheus  ## all checks and tests, with a real Unleash server, browser, Prometheus
	@$(BIN)/python -m pytest --numprocesses 2 --dist loadfile $(ARGS) || { [ $$? -eq 1 ] && \
		echo "Once more, alone and in order: what failed while two ran at a time" && \
		$(BIN)/python -m pytest --last-failed --last-failed-no-failures none $(ARGS); }

proofs: $(VENV)/browser $(VENV)/prometheus  ## the long proofs: mutants, killed processes, simulated rollouts, drills
	$(BIN)/python -m pytest -m thorough $(ARGS)

check: $(VENV)/development  ## style, types, who imports whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

format: $(VENV)/development  ## mend the style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/development  ## write docs/reference and the picture of the rooms from the code
	$(BIN)/python -m docs_reference

lock: $(VENV)/development  ## write requirements.lock: what the program needs, for every platform, by hash
	$(BIN)/uv pip compile requirements.txt --constraint constraints.txt --universal --python-version 3.11 \
		--generate-hashes --no-header --no-annotate --no-emit-index-url --quiet --output-file requirements.lock

sbom: $(VENV)/development  ## write build/sbom.json: what is installed to run the program (CycloneDX)
	@mkdir -p build
	$(BIN)/python -m cyclonedx_py requirements requirements.lock --output-reproducible --output-file build/sbom.json

audit: $(VENV)/development  ## ask for known vulnerabilities of what is locked; this alone needs the network, or ARGS="... --osv-url ..."
	$(BIN)/pip-audit --strict --requirement requirements.lock --disable-pip --require-hashes $(ARGS)

clean:  ## remove what the other targets made
	rm -rf $(VENV) build *.egg-info

$(VENV)/created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/runtime: $(VENV)/created requirements.lock pyproject.toml
	@echo "Installing what the program needs (about a minute) ..."
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock
	@$(PIP_INSTALL) --no-deps --editable .
	@$(BIN)/python -c 'import pathlib, sysconfig; pathlib.Path(sysconfig.get_path("purelib"), "monolith.pth").write_text("$(CURDIR)")'
	@touch $@

$(VENV)/development: $(VENV)/runtime requirements-dev.txt
	@echo "Installing what the tests need (about a minute) ..."
	@$(PIP_INSTALL) --requirement requirements-dev.txt
	@touch $@

$(VENV)/browser: $(VENV)/development tests/install_browser.sh
	@PATH="$(abspath $(BIN)):$$PATH" sh tests/install_browser.sh
	@touch $@

$(VENV)/prometheus: $(VENV)/development tests/install_prometheus.sh
	@sh tests/install_prometheus.sh
	@touch $@
