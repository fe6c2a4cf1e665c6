# Everything installs into .venv; Python >= 3.11 with its venv module and make are all it takes.
#
#   make            install what the demo needs
#   make demo       generate text on the virtual board; FROM=source synthesises and compiles it first
#   make test       every quick test
#   make test-full  the slow ones too, and those of training, which need PyTorch
#   make bench-train  characters per second of training
#   make quality CORPUS=FILE   teachers, three seeds of the model, their mean and spread; takes hours
#   make mutation   small faults in gateware and host, and whether the tests notice; takes hours
#   make guard      compare area, clock, cycles and activity of the build with those recorded
#   make release-check   are releases and campaign records of this design? STRICT=1: all of them
#   make formal     prove claims about the gateware, each with a fault that has to refute it
#   make soak       compare 100,000 tokens of random models, every stage, with the reference
#   make simulation-speed   compare ways to compile the virtual board
#   make fuzz       fuzz every parser, MINUTES=10 each; goes on where it was stopped
#   make lint       ruff, mypy, and the schema of the workflow
#   make faults     inject faults on the link, in memory and in power, and count what becomes of them
#   make needs-test, needs-mutation ...   install what these need, and run nothing
#   make clean      remove .venv and everything generated
#
# PYTHON chooses the interpreter, ARGS is handed on, to pytest among others: make test ARGS="--seed 3 -k engine"

PYTHON ?= python3
ARGS ?=
ARGS_DEMO ?=
ARGS_GUARD ?=
MINUTES ?= 10

# Of make quality: a recipe, those of its teachers in their order, and seeds of the model.
CORPUS ?=
RECIPE ?= icebreaker
TEACHERS ?= teacher-short teacher
SEEDS ?= 1 2 3

VENV := .venv
BIN := $(VENV)/bin
PACKAGES := hw sw sim boards

# A stamp carries the checksum of pyproject.toml: it is out of date exactly when that file changes.
KEY := $(shell cksum pyproject.toml | cut -d ' ' -f 1)
STAMP := $(VENV)/stamp-$(KEY)

# Two makes at once must not install at once.
LOCK := $(if $(shell command -v flock),flock build/install.lock)

# Without a network it is over in seconds, not after pip's five tries of a quarter of a minute each.
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input --quiet --retries 1 --timeout 10

.DEFAULT_GOAL := install
.PHONY: install demo test test-full guard release-check faults fuzz simulation-speed bench-train quality lint typings python clean formal soak mutation

install: $(STAMP)-demo

# The released chip, unless FROM=source: then the whole way, from Amaranth on.
FROM ?= release
ifeq ($(filter $(FROM),release source),)
$(error FROM is release or source, not "$(FROM)")
endif

demo: $(STAMP)-$(if $(filter source,$(FROM)),sim,demo)
	$(BIN)/trilight demo $(if $(filter source,$(FROM)),--from-source) $(ARGS_DEMO)

test: $(STAMP)-test
	$(BIN)/pytest $(ARGS)

test-full: $(STAMP)-test $(STAMP)-train
	$(BIN)/pytest -m "slow or not slow" $(ARGS)

bench-train: $(STAMP)-train
	$(BIN)/trilight training-speed

ifeq ($(MAKECMDGOALS)$(CORPUS),quality)
$(error make quality needs a text: make quality CORPUS=FILE)
endif

# What is finished stays in build/quality, and a training that was stopped goes on.
QUALITY := build/quality
TEACHER_FILES := $(TEACHERS:%=$(QUALITY)/%.safetensors)
SEED_FILES := $(SEEDS:%=$(QUALITY)/seed-%.safetensors)
TRAIN = $(BIN)/trilight train --corpus "$(CORPUS)" --threads 1 --out $@
RESUME = $(if $(wildcard $@.checkpoint/*.pt),--resume,$(1))

quality: $(SEED_FILES)
	$(BIN)/trilight compare $(SEED_FILES) $(TEACHER_FILES) --corpus "$(CORPUS)" --json $(QUALITY)/seeds.json

$(TEACHER_FILES): | $(STAMP)-train
	@mkdir -p $(QUALITY)
	$(TRAIN) --recipe $(@F:.safetensors=) $(call RESUME)

$(SEED_FILES): $(TEACHER_FILES)
	$(TRAIN) --recipe $(RECIPE) $(TEACHER_FILES:%=--teacher %) --soft-targets $(QUALITY) \
	  $(call RESUME,--seed $(@F:seed-%.safetensors=%))

mutation: $(STAMP)-mutation
	$(BIN)/trilight mutation gateware $(ARGS)
	$(BIN)/trilight mutation host

# What a target needs and nothing else, as in needs-test.
needs-%: $(STAMP)-% ;

guard: $(STAMP)-test
	$(BIN)/trilight guard $(ARGS_GUARD)

release-check: $(STAMP)-sim
	$(BIN)/trilight release-check $(if $(STRICT),--strict) $(ARGS)

fuzz: $(STAMP)-fuzz
	PYTHONPATH=tests $(BIN)/python -m fuzz --minutes $(MINUTES) $(ARGS)

formal: $(STAMP)-test
	$(BIN)/trilight formal $(ARGS)

soak: $(STAMP)-test
	$(BIN)/trilight soak --target rtl --tokens 100000
	$(BIN)/trilight soak --target netlist --chips 64 --tokens 10000

faults: $(STAMP)-test
	$(BIN)/trilight faults link
	$(BIN)/trilight faults link --target rtl --sessions 100
	$(BIN)/trilight faults link --target netlist --sessions 20
	$(BIN)/trilight faults link --target hanging --sessions 100
	$(BIN)/trilight faults memory
	$(BIN)/trilight faults memory --others

simulation-speed: $(STAMP)-sim
	$(BIN)/trilight simulation-speed

lint: $(STAMP)-lint typings
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.github-workflows .github/workflows/*.yml

# mypy cannot follow the import hook of an editable install, so it is given the package as links.
typings:
	@mkdir -p typings/trilight
	@ln -sfn ../../trilight/__init__.py typings/trilight/__init__.py
	@for package in $(PACKAGES); do ln -sfn "../../$$package" "typings/trilight/$$package"; done

clean:
	rm -rf $(VENV) build dist typings *.egg-info

# The extras are installed beside a package that stays in place, so that a demo may run meanwhile.
$(STAMP)-demo: REQUIREMENT := --editable=.
$(STAMP)-sim: REQUIREMENT := trilight[sim]
$(STAMP)-test: REQUIREMENT := trilight[test]
$(STAMP)-lint: REQUIREMENT := trilight[dev]
$(STAMP)-fuzz: REQUIREMENT := trilight[fuzz]
$(STAMP)-mutation: REQUIREMENT := trilight[mutation]
$(STAMP)-train: REQUIREMENT := trilight[train]

$(STAMP)-sim $(STAMP)-test $(STAMP)-lint $(STAMP)-fuzz $(STAMP)-mutation $(STAMP)-train: $(STAMP)-demo

$(STAMP)-%: | python
	@mkdir -p build 2>/dev/null || { \
	  echo "Nothing can be written into $(CURDIR): copy Trilight into a folder of your own" >&2; exit 1; }
	@$(LOCK) sh -ec 'test ! -e $@ || exit 0; \
	  $(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV) || { \
	    rm -rf $(VENV); \
	    df -Pk . | { read -r _; read -r _ _ _ free _; test "$$free" -ge 200000; } || { \
	      echo "Nothing was installed, for the disk is full: make room for 200 MB" >&2; exit 1; }; \
	    echo "No virtual environment: on Debian and Ubuntu, sudo apt-get install python3-venv" >&2; \
	    exit 1; }; \
	  echo "Installing the needs of \"make $*\" into $(VENV); the first time takes" \
	    $(if $(filter demo,$*),"half a minute","minutes"); \
	  said=$$($(PIP) install "$(REQUIREMENT)" 2>&1) || { \
	    case "$$said" in \
	      *"No space left"*|*"Disk quota"*) why="the disk is full: make room for 200 MB, more for training";; \
	      *"ermission denied"*) why="$(VENV) may not be written to: remove it, or ask who owns it";; \
	      *"NewConnectionError"*|*"ConnectTimeout"*|*"NameResolution"*|*"ProxyError"*|*"SSLError"*) \
	        why="no package index answers: check the network, or name another by PIP_INDEX_URL";; \
	      *) why="pip gave up"; printf "%s\n" "$$said" | tail -n 5 >&2;; \
	    esac; \
	    echo "Nothing was installed, for $$why" >&2; exit 1; }; \
	  touch $@'

python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Trilight needs Python 3.11 or newer, and $(PYTHON) is not one." \
	    "On Debian and Ubuntu: sudo apt-get install python3 python3-venv," \
	    "or name another one: make PYTHON=python3.12" >&2; \
	  exit 1; }
