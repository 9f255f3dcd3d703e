# Everything runs in .venv, which is made from requirements.lock. A fresh machine needs Python 3.11 or
# newer and pip; what Debian keeps in packages of its own is installed where this runs as root.

# program:package[+package...]. What `make run` needs, and what the tests and benchmarks need beside it: they
# skip, with the reason, what they cannot run. No service is started by its installation: tests start their own.
FOR_RUN := ip:iproute2 ping:iputils-ping
FOR_TEST := $(FOR_RUN) gcc:gcc+libc6-dev bird:bird2 iptables:iptables tc:iproute2 kubectl:kubernetes-client \
  /usr/lib/cni/ptp:containernetworking-plugins containerd:containerd podman:podman+runc faketime:faketime \
  busybox:busybox
POLICY := /usr/sbin/policy-rc.d
install_debian = @missing=$$(for one in $(1); do command -v "$${one%%:*}" >/dev/null || echo "$${one\#\#*:}"; done | sort -u); \
  if [ -n "$$missing" ] && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
    missing=$$(echo $$missing | tr + ' '); echo "installing $$missing ..."; apt-get update -qq; \
    [ -e $(POLICY) ] || { trap 'rm -f $(POLICY)' EXIT; printf '\#!/bin/sh\nexit 101\n' >$(POLICY); chmod +x $(POLICY); }; \
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $$missing >/dev/null; \
  fi

# Each process begins with its share of the tests; who has none left takes some from another. So what tests of a
# folder share is made once, seldom twice, and no core waits. Most tests wait for servers and packets for half of
# their time: twice as many processes as cores. Those of `test-fast` wait for nothing.
SHARED := --dist worksteal --durations 10
CORES := $(shell nproc 2>/dev/null || echo 2)
FAST := tests/events tests/ipam tests/routing tests/test_printable.py tests/cni/test_spec.py \
  $(addprefix tests/producers/kubernetes/, test_absence.py test_observe.py test_watch_stream.py) \
  $(addprefix tests/cli/, common/test_help.py common/test_terminal.py common/test_usage_errors.py \
    ipam/test_simulate.py topology/test_invalid_files.py topology/test_validate.py)

PYTHON ?= python3
SPEED ?= 1
SEEDS ?= 50
SECONDS ?= 600
ROUNDS ?= 1
SEED ?= $(shell date +%s)
SAMPLE ?= 400
LAB ?= lab
BIN := .venv/bin
READY := .venv/.ready

.PHONY: run play programs debian test test-fast check docs manifests bench chaos fuzz simulate mutants lock clean

run: programs $(READY)  ## a cluster of network namespaces, with pods that ping and routes that are counted; needs root
	@if [ "$$(uname)" = Linux ] && unshare --net true 2>/dev/null; then \
	  $(BIN)/romana-bus lab demo --name $(LAB); \
	else \
	  echo "A cluster of network namespaces needs Linux and root; here is a recording of one instead."; \
	  $(MAKE) --no-print-directory play; \
	fi

play: $(READY)  ## play a recorded day of a real cluster through the whole system
	$(BIN)/romana-bus up --recording recordings --speed $(SPEED)

test: debian $(READY) check docs  ## all checks and all tests, with a sample of the chaos
	$(BIN)/pytest --numprocesses $(shell expr 2 \* $(CORES)) $(SHARED)

test-fast: $(READY)  ## what needs no server: the core, codecs, rendering, and commands that need no log; under a minute
	$(BIN)/pytest --numprocesses $(CORES) $(SHARED) $(FAST)

# Where root may; without, what is missing is said by what misses it.
programs:
	$(call install_debian,$(FOR_RUN))

debian:
	$(call install_debian,$(FOR_TEST))

check: $(READY)  ## style, types, which part may import which, and code that nobody calls
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --config pyproject.toml
	$(BIN)/vulture

docs: $(READY)  ## the site, into build/site; fails on a broken link
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

manifests: $(READY)  ## the golden files of deploy/, rendered anew
	ROMANA_RENEW_MANIFESTS=1 $(BIN)/pytest tests/deploy/test_rendering.py

bench: debian $(READY)  ## about a quarter of an hour; nothing else should run
	$(BIN)/python -m benchmarks

simulate: $(READY)  ## days of a small cluster on a virtual clock, on all cores; DEFECTS=1: how soon old defects are found
	$(BIN)/python -m tests.simulation --seeds $(SEEDS) $(if $(DEFECTS),--defects)

chaos: $(READY)  ## many more seeds than `test` plays
	ROMANA_CHAOS_SEEDS=$(SEEDS) $(BIN)/pytest tests/chaos --timeout 3600

fuzz: debian $(READY)  ## hostile input for SECONDS, and for ROUNDS at least, from SEED on
	ROMANA_FUZZ_SEED=$(SEED) ROMANA_FUZZ_ROUNDS=$(ROUNDS) ROMANA_FUZZ_SECONDS=$(SECONDS) \
	  $(BIN)/pytest tests/fuzz/test_processes.py --capture no

mutants: debian $(READY)  ## how many of SAMPLE small changes to the core the tests notice; half an hour
	$(BIN)/python -m benchmarks.mutants --sample $(SAMPLE)

lock: $(READY)  ## the newest of everything that pyproject.toml allows
	$(BIN)/pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --upgrade --quiet \
	  --no-header --output-file requirements.lock

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build mutants

$(READY): pyproject.toml requirements.lock hatch_build.py romana_bus/cni/plugin/client.c
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is older than 3.11: name a newer one with make PYTHON=python3.11" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y python3-venv >/dev/null; \
	  else \
	    echo "Python's venv module is missing: apt-get install python3-venv" >&2; exit 2; \
	  fi; }
	@echo "installing into .venv ..."
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check --requirement requirements.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $(READY)
