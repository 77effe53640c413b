# Every task of the project, from a fresh clone: each target installs what it needs.

CLANG ?= clang

VENV := .venv/bin
BPF_HEADERS := $(wildcard bpf/*.h)
BPF_OBJECTS := $(patsubst %.c,%.o,$(wildcard bpf/*.bpf.c)) bpf/router_v2.bpf.o
# asm/types.h of this architecture: clang searches for headers of the BPF target, which Debian does not have.
BPF_CFLAGS := -O2 -g -Wall -Werror -target bpf -I/usr/include/$(shell uname -m)-linux-gnu

# Test processes: more than CPUs, for many tests wait for grace periods of the kernel.
WORKERS ?= $(shell expr $$(nproc) + 2)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SETUPS := setup-demo setup-lint setup-test setup-kernels setup-recipes setup-editor setup-collection setup-cluster
.PHONY: $(SETUPS) help setup man schemas pictures bpf demo test sweep test-random test-kernels test-recipes test-editor test-collection test-cluster test-kernels-short lint format docs bench bench-full coverage mutants clean

help: ## print this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

setup: setup-test ## install all that the tests and linters need: .venv and missing Debian packages

$(SETUPS): setup-%:
	@scripts/setup.sh $*

man: setup-lint ## generate the manual page from the command line's help
	$(VENV)/python scripts/manpage.py > man/provisioner.1

schemas: setup-lint ## write the generated parts of schemas/: table formats, variables, the schema of parts
	$(VENV)/python scripts/schemas.py

pictures: setup ## draw the pictures of the documentation, and record its terminal; needs root
	$(VENV)/python scripts/pictures.py
	$(VENV)/python scripts/terminal.py

bpf: $(BPF_OBJECTS) ## compile bpf/*.bpf.c

bpf/%.bpf.o: bpf/%.bpf.c $(BPF_HEADERS) Makefile | setup-demo
	$(CLANG) $(BPF_CFLAGS) -c $< -o $@

# A later version of the same router, for tests of upgrades.
bpf/router_v2.bpf.o: bpf/router.bpf.c $(BPF_HEADERS) Makefile | setup-demo
	$(CLANG) $(BPF_CFLAGS) -DROUTER_V2 -c $< -o $@

demo: setup-demo bpf ## two network namespaces, real packets, one spec; needs root
	@scripts/demo.sh

test: setup bpf ## the whole test suite; needs root
	$(VENV)/python -m pytest -n $(WORKERS) --dist loadgroup

sweep: setup bpf ## every kill point and fault, and long runs; needs root and up to two hours
	PROVISIONER_SWEEP=full $(VENV)/python -m pytest -n $(WORKERS) --dist loadgroup tests/promises tests/object_check \
		tests/apply/test_jumps.py
	PROVISIONER_SWEEP=full PROVISIONER_BPF_PROGRAMS=always $(VENV)/python -m pytest -n $(WORKERS) --dist loadgroup \
		tests/promises/test_random_states.py tests/promises/test_fault_sweep.py tests/promises/test_crash_sweep.py

SEED ?= 100

test-random: setup bpf ## random states of another seed: SEED=100 or any other number; needs root and a minute
	PROVISIONER_SEED=$(SEED) $(VENV)/python -m pytest tests/promises/test_random_states.py

test-kernels: setup-kernels bpf ## the tests of the kernel on Linux 5.10 to the newest; KERNEL=6.1 for one; needs root and qemu
	$(VENV)/python scripts/test_kernels.py $(KERNEL)

test-kernels-short: setup-kernels bpf ## apply and destroy one spec on Linux 6.1 in a guest, one minute; needs root and qemu
	$(VENV)/python scripts/test_kernels.py --short $(or $(KERNEL),6.1)

test-recipes: setup-recipes ## run the recipes of docs/gitops.md by Salt and Puppet, which it installs; needs root
	$(VENV)/python scripts/test_recipes.py build/salt

test-editor: setup-editor ## schemas in yaml-language-server and programs in pyright, which it installs by npm
	$(VENV)/python -m pytest integrations/editor

test-collection: setup-collection ## ansible-lint and the sanity tests of Ansible on the collection, which it installs
	scripts/test_collection.sh build/ansible

CLUSTER ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/bpf-provisioner-cluster

test-cluster: setup-cluster ## the DaemonSet on a Kubernetes cluster, which it builds first: 20 minutes; needs root, Debian 12
	scripts/build_cluster.sh $(CLUSTER)
	$(VENV)/python scripts/test_cluster.py $(CLUSTER)

docs: setup-lint ## build the documentation into build/site; a broken link is an error
	NO_MKDOCS_2_WARNING=1 $(VENV)/mkdocs build --strict

lint: setup-lint ## ruff and mypy
	$(VENV)/ruff check .
	$(VENV)/ruff format --check .
	$(VENV)/mypy

format: setup-lint ## format the code with ruff
	$(VENV)/ruff check --fix .
	$(VENV)/ruff format .

bench: setup bpf ## the benchmarks, about seven minutes; needs root
	$(VENV)/python -m benchmarks.run

bench-full: setup bpf ## every size, up to 10 million entries; needs root and an hour
	$(VENV)/python -m benchmarks.run --full

coverage: setup ## branch coverage of each module of planning by the tests without a kernel: 95 % or more
	$(VENV)/python scripts/covered.py provisioner.planning

MUTANTS ?= provisioner/planning provisioner/model/entry_table.py provisioner/codec provisioner/apply/waves.py
SAMPLE ?= 100

mutants: setup ## mutate the modules that decide: which do the tests kill? SAMPLE=N of each room; hours for all
	$(VENV)/pip install --quiet "cosmic-ray>=8.3"
	$(VENV)/python scripts/mutants.py $(MUTANTS) --sample $(SAMPLE)

clean: ## remove all that was built, and .venv
	rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	rm -f bpf/*.o tests/bpf/*.o
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
