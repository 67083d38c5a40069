# The commands of the course; `make` alone lists them. Everything is installed into .venv, and what only `make bench` or
# `make lowest` needs into build/bench-env or build/lowest-env; nothing anywhere else.
#
#   make lab PYTHON=python3.12        choose the Python that .venv is made with (3.11 to 3.14)
#   make test NOTEBOOKS="05 06"       only the notebooks whose names begin so; also for check, course, notebooks, seeds

# How long a thread of OpenMP (GNU's, which PyTorch uses on Linux) spins before it sleeps. By default so long that training
# beside another busy program takes ten times as long; with no spinning at all (OMP_WAIT_POLICY=PASSIVE), small networks
# take twice as long on an idle machine. This is some tens of microseconds, and costs little in either case.
export GOMP_SPINCOUNT = 10000

VENV = .venv
BIN = $(if $(filter Windows_NT,$(OS)),Scripts,bin)
INSTALLED = $(VENV)/installed
LABS_INSTALLED = $(VENV)/installed-labs
BOOK_INSTALLED = $(VENV)/installed-book
RUN = $(VENV)/$(BIN)/python -m
CONSTRAINTS = constraints.txt
LOWEST_ENV = build/lowest-env
BENCHED = build/bench-env/$(BIN)/python -m

SUITABLE = import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))
PYTHON ?= $(or $(shell for p in python3 python3.13 python3.12 python3.11 python3.14; do \
	$$p -c '$(SUITABLE)' >/dev/null 2>&1 && echo $$p && break; done),python3)
UNSUITABLE = minidiff needs Python 3.11, 3.12, 3.13 or 3.14, but $(PYTHON) is \
	"$(shell $(PYTHON) --version 2>&1 || :)". Name another: make lab PYTHON=python3.12

# A process for each core, up to four (memory), with one thread each. A file of tests stays in one process, and so do
# its fixtures; a notebook is such a file, and keeps its kernel. The file that took longest the last time begins.
SIDE_BY_SIDE = -p tests.tools.longest_first --numprocesses=auto --maxprocesses=4 --dist=loadfile
TESTS = tests
COVERAGE = --cov=minidiff

NOTEBOOKS =
FILES = $(if $(NOTEBOOKS),$(sort $(foreach n,$(NOTEBOOKS),$(or $(wildcard notebooks/$(n)*.ipynb),\
	$(error no notebook begins with $(n))))),notebooks)

# Notebook 13 trains a network that is large enough for two threads, which run it three times as fast as one: it comes
# last, alone, with all of them.
CHOSEN = $(if $(NOTEBOOKS),$(FILES),$(sort $(wildcard notebooks/*.ipynb)))
WIDE = $(filter notebooks/13%,$(CHOSEN))
NARROW = $(filter-out $(WIDE),$(CHOSEN))
NBVAL = -p tests.tools.nbval_report --nbval-lax --nbval-current-env --nbval-cell-timeout 240

FIRST = notebooks/00_start_here.ipynb
SEED = 0
SEEDS = 0 1 2 3 4
THREADS = 1 2
LAB_FLAGS =
LAB =
FROM =
COURSE =
STUDENTS =
DUE =
LATE =
UNSAFE =
BENCH =

# Labs: LAB=05, and COURSE, the folder with all marks, which is ~/minidiff-labs where nothing is said
LABS = $(RUN) minidiff.workshop.labs
WHICH = --lab "$(LAB)" $(if $(COURSE),--course "$(COURSE)")

.PHONY: wheel
.PHONY: help lab test check course notebooks seeds soak lowest mutants bench bench-quick clean
.PHONY: lab-release lab-grade lab-export
.PHONY: book book-check

help:  ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' Makefile

lab: $(INSTALLED)  ## set up what is missing and open JupyterLab at the first notebook
	@$(RUN) nbformat.sign $(wildcard notebooks/*.ipynb) >/dev/null 2>&1 || :  # trusted, so that its pages of minidiff.explorer run
	$(RUN) jupyterlab --ip=127.0.0.1 --allow-root --LabApp.default_url=/lab/tree/$(FIRST) $(LAB_FLAGS)

test:  ## check it all: style, unit tests, then every notebook against its stored findings

check:  ## check the course in four minutes: style, its unit tests, and notebooks 00, 05 and 06
check: TESTS = tests/course
check: COVERAGE =
check: NOTEBOOKS = 00 05 06

test: $(LABS_INSTALLED)

test check: $(INSTALLED)
	@trap 'exit 130' INT; failed=; \
	$(RUN) ruff check . || failed="$$failed ruff-check"; \
	$(RUN) ruff format --check . || failed="$$failed ruff-format"; \
	$(RUN) pytest $(TESTS) --seed=$(SEED) $(SIDE_BY_SIDE) $(COVERAGE) || failed="$$failed unit-tests"; \
	$(if $(NARROW),$(RUN) pytest $(NARROW) $(SIDE_BY_SIDE) $(NBVAL) || failed="$$failed notebooks";) \
	$(if $(WIDE),$(RUN) pytest $(WIDE) $(NBVAL) || failed="$$failed notebook-13";) \
	test -z "$$failed" || { echo "not passed:$$failed"; exit 1; }

course: $(INSTALLED)  ## execute every notebook in order, write nothing, and print how long each took
	$(RUN) tests.tools.notebooks course $(FILES)

notebooks: $(INSTALLED)  ## execute every notebook and store its outputs
	$(RUN) tests.tools.notebooks write $(FILES)

seeds: $(INSTALLED)  ## check that the findings hold under SEEDS="0 1 2 3 4" and THREADS="1 2"
	$(RUN) tests.tools.notebooks seeds $(FILES) --seeds $(SEEDS) --threads $(THREADS)

lab-release: $(LABS_INSTALLED)  ## for lecturers: make the notebook of LAB=05 to hand out (STUDENTS=list.csv: a bug for each)
	$(LABS) release $(WHICH) $(if $(STUDENTS),--students "$(STUDENTS)")

lab-grade: $(LABS_INSTALLED)  ## mark LAB=05 FROM=submissions.zip (DUE="2026-12-24 18:00" LATE=10: percent for each day)
	$(LABS) grade $(WHICH) --from "$(FROM)" $(if $(DUE),--due "$(DUE)") $(if $(LATE),--late "$(LATE)") \
		$(if $(filter 1 yes true,$(UNSAFE)),--unsafe)

lab-export: $(LABS_INSTALLED)  ## write grades and feedback of LAB=05 again, after you have marked the plots
	$(LABS) export $(WHICH)

book: $(BOOK_INSTALLED)  ## make the course a web site, build/book/index.html, from the stored outputs (half a minute)
	$(RUN) tests.tools.book build

book-check: book  ## the same, and look at every page of it in a browser, where there is one (five minutes)
	$(RUN) tests.tools.book check

soak: $(INSTALLED)  ## pull the plug on trainings fifty times at random moments (ten minutes)
	$(RUN) pytest tests/workshop/soak.py -s --seed=$(SEED)

lowest: $(INSTALLED) build/lowest.txt  ## the whole test with the oldest packages that are allowed (half an hour; Python 3.11 or 3.12)
	@$(MAKE) test VENV=$(LOWEST_ENV) CONSTRAINTS=build/lowest.txt

mutants: $(INSTALLED)  ## break the formulas on purpose, 3,000 times, and count what the tests notice (an hour)
	$(RUN) pip install -c $(CONSTRAINTS) -e ".[mutants]"
	$(RUN) tests.tools.mutants

wheel: $(INSTALLED)  ## build what pip installs, into build/wheel, and try it in a new environment (three minutes)
	$(RUN) pip install -q -c $(CONSTRAINTS) -e ".[wheel]"
	$(RUN) tests.tools.wheel

bench: build/bench-env/installed  ## train minidiff and three public libraries side by side (hours; goes on where it stopped)
	$(BENCHED) tests.benchmarks.quality $(BENCH)

bench-quick: build/bench-env/installed  ## the same, one short training each and few samples (ten minutes)
	$(BENCHED) tests.benchmarks.quality --budgets 60 --precisions float32 --n 150 --tryout 0 --last 0 \
		--folder build/bench-quick --out build/bench-quick

build/lowest.txt: pyproject.toml
	$(RUN) tests.tools.lowest $@

build/bench-env/installed: pyproject.toml constraints.txt
	test -x build/bench-env/$(BIN)/python || $(PYTHON) -m venv build/bench-env
	$(BENCHED) pip install -c constraints.txt -e ".[bench]"
	@touch $@

clean:  ## remove all that these commands made: .venv and caches (never your notebooks or data)
	rm -rf $(VENV) .pytest_cache .ruff_cache .coverage .coverage.* *.egg-info build
	find . -name __pycache__ -prune -exec rm -rf {} + -o -name .ipynb_checkpoints -prune -exec rm -rf {} +

$(LABS_INSTALLED): $(INSTALLED)
	$(RUN) pip install -c $(CONSTRAINTS) -e ".[dev,labs]"
	@touch $@

$(BOOK_INSTALLED): $(INSTALLED)
	$(RUN) pip install -c $(CONSTRAINTS) -e ".[dev,book,browser]"
	@touch $@

$(INSTALLED): pyproject.toml $(CONSTRAINTS)
	$(if $(shell $(PYTHON) -c '$(SUITABLE)' 2>/dev/null && echo yes),,$(error $(UNSUITABLE)))
	test -x $(VENV)/$(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(RUN) pip install -c $(CONSTRAINTS) -e ".[dev]"
	@touch $@
