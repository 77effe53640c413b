# All that is done here, from a fresh clone: each target sets up what it needs.

PYTHON ?= python3
CLANG ?= clang
export PYTHON

VENV := .venv/bin
BPF_HEADERS := $(wildcard bpf/*.h)
BPF_OBJECTS := $(patsubst %.c,%.o,$(wildcard bpf/*.bpf.c)) bpf/router_v2.bpf.o
# The architecture's own headers (asm/types.h): clang looks for the BPF target's, which Debian has none of.
BPF_CFLAGS := -O2 -g -Wall -Werror -target bpf -I/usr/include/$(shell uname -m)-linux-gnu

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup man bpf demo test sweep test-kernels test-recipes test-kernels-short lint format docs bench bench-full clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

setup: ## .venv with the provisioner in it, and the Debian packages that are missing
	@scripts/setup.sh

man: setup ## write the manual page anew, from the command line's help
	$(VENV)/python scripts/manpage.py > man/provisioner.1

bpf: $(BPF_OBJECTS) ## compile bpf/*.bpf.c

bpf/%.bpf.o: bpf/%.bpf.c $(BPF_HEADERS) Makefile | setup
	$(CLANG) $(BPF_CFLAGS) -c $< -o $@

# The same router, a version later: what an upgrade is tried on.
bpf/router_v2.bpf.o: bpf/router.bpf.c $(BPF_HEADERS) Makefile | setup
	$(CLANG) $(BPF_CFLAGS) -DROUTER_V2 -c $< -o $@

demo: setup bpf ## two network namespaces, real packets, one spec; needs root
	@scripts/demo.sh

test: setup bpf ## the whole test suite; needs root
	$(VENV)/python -m pytest

sweep: setup bpf ## every kill point and fault, and long runs; needs root and some two hours
	PROVISIONER_SWEEP=full $(VENV)/python -m pytest tests/promises

test-kernels: setup bpf ## what touches the kernel, on 5.10 to the newest; KERNEL=6.1 for one; needs root and qemu
	@scripts/setup.sh --kernels
	$(VENV)/python scripts/test_kernels.py $(KERNEL)

test-kernels-short: setup bpf ## one spec from nothing to nothing on 6.1, in a guest: a minute; needs root and qemu
	@scripts/setup.sh --kernels
	$(VENV)/python scripts/test_kernels.py --short $(or $(KERNEL),6.1)

test-recipes: setup ## the recipes of docs/gitops.md by Salt and Puppet; needs root, and fetches both
	@scripts/setup.sh --recipes
	$(VENV)/python scripts/test_recipes.py build/salt

docs: setup ## build the documentation into build/site; every link must lead somewhere
	NO_MKDOCS_2_WARNING=1 $(VENV)/mkdocs build --strict

lint: setup ## ruff and mypy
	$(VENV)/ruff check .
	$(VENV)/ruff format --check .
	$(VENV)/mypy

format: setup ## let ruff lay out the code
	$(VENV)/ruff check --fix .
	$(VENV)/ruff format .

bench: setup bpf ## the benchmarks, some five minutes; needs root
	$(VENV)/python -m benchmarks.run

bench-full: setup bpf ## every size, up to 10 million entries; needs root and an hour
	$(VENV)/python -m benchmarks.run --full

clean: ## remove what was built, .venv too
	rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	rm -f bpf/*.o tests/bpf/*.o
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
