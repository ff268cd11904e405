# SPDX-License-Identifier: GPL-2.0-only
#
# Lodge's build. The work is done by kbuild (scripts/build-module), by the Makefiles
# of userspace/ and selftests/, and by the scripts; here are the names for it.

# The kernel that the module is built for: a folder with its headers. Left empty,
# the running kernel's if its headers are there, else those of the bed's kernel.
KDIR ?=
# Where everything that is built goes.
O ?= build
PREFIX ?= /usr/local
DESTDIR ?=

BUILD := $(abspath $(O))
export V W C KCFLAGS

# The kernel's selftest harness: from a kernel tree, or fetched.
KSELFTEST_DIR ?=

.PHONY: all
all: module userspace selftests ## build all that follows (default)

.PHONY: module
module: ## build build/<kernelrelease>/lodge.ko for KDIR=<headers>
	@O='$(BUILD)' scripts/build-module $(KDIR)

.PHONY: userspace
userspace: ## build build/lodge, the runner
	@$(MAKE) --no-print-directory -C userspace O='$(BUILD)'

.PHONY: selftests
selftests: ## build build/selftests/, which run in the bed
	@dir='$(KSELFTEST_DIR)'; \
	: "$${dir:=$$(scripts/fetch source-6.12)/tools/testing/selftests}"; \
	$(MAKE) --no-print-directory -C selftests O='$(BUILD)' KSELFTEST_DIR="$$dir"

.PHONY: unit
unit: ## build and run the unit tests on this machine
	@$(MAKE) --no-print-directory -C selftests/unit O='$(BUILD)' run

.PHONY: demo
demo: ## boot a guest in the bed (BED=vmx: on Intel, BED=host: here)
	@O='$(BUILD)' scripts/demo $(BED)

.PHONY: check
check: ## run the tests, half an hour of them; CHECK="NAME..." only those rows
	@O='$(BUILD)' scripts/check $(CHECK)

.PHONY: check-all
check-all: ## run the long tests, too: other VMMs, Linux's selftests/kvm
	@O='$(BUILD)' scripts/check --all $(CHECK)

.PHONY: check-debug
check-debug: ## run the tests on kernels that watch themselves (built once, an hour)
	@O='$(BUILD)' scripts/check-debug $(CHECK)

.PHONY: bench
bench: ## measure lodge and KVM in the bed, and write performance.rst (BENCH_ARGS=)
	@O='$(BUILD)' scripts/bench $(BENCH_ARGS)

.PHONY: setup
setup: ## install the Debian packages that builds and tests need
	@scripts/setup check

.PHONY: fetch
fetch: ## download the kernels, headers and QEMU into the cache
	@scripts/fetch qemu busybox source-6.12 \
		$(foreach v,6.1 6.12 7,kernel-$(v) headers-$(v)) >/dev/null

.PHONY: install
install: ## install the module, the runner, the header and the manual pages
	@O='$(BUILD)' DESTDIR='$(DESTDIR)' PREFIX='$(PREFIX)' \
		scripts/install check $(KDIR)
	@$(MAKE) --no-print-directory module userspace
	@O='$(BUILD)' DESTDIR='$(DESTDIR)' PREFIX='$(PREFIX)' \
		scripts/install install $(KDIR)

.PHONY: uninstall
uninstall: ## remove what install has put there
	@O='$(BUILD)' DESTDIR='$(DESTDIR)' PREFIX='$(PREFIX)' \
		scripts/install uninstall $(KDIR)

.PHONY: compile_commands.json
compile_commands.json: module userspace ## for editors: how each file is compiled
	@O='$(BUILD)' scripts/compile-commands >$@.new && mv $@.new $@

.PHONY: checkpatch
checkpatch: ## run the kernel's checkpatch over all C files
	@scripts/run-checkpatch

.PHONY: lines
lines: ## count the lines of the module and of its backends
	@for part in kmod kmod/svm kmod/vmx; do \
		find $$part -name '*.[chS]' -exec cat {} + | wc -l | sed "s,$$,\t$$part,"; \
	done

.PHONY: clean
clean: ## remove all that was built
	@rm -rf '$(BUILD)' compile_commands.json

.PHONY: help
help: ## show this list
	@echo 'Targets:'
	@sed -n 's/^\([a-z_.-]*\):.*## \(.*\)/  \1\t\2/p' Makefile | expand -t 25
	@echo
	@echo 'Variables: KDIR=<kernel headers> O=<build folder> PREFIX= DESTDIR='
	@echo '           W=1 (more warnings) C=1 (sparse) V=1 (show commands)'
