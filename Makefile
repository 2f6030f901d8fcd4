# SPDX-License-Identifier: Apache-2.0
# The front door.  meson does the work; this file chooses a build folder for each configuration,
# and the distribution's meson and python3 rather than others that may stand earlier on PATH.

MESON ?= /usr/bin/meson
PYTHON = $(shell tools/find-python)
PREFIX ?= /usr/local
WHEEL_DIR ?= build/wheel
ifeq ($(origin CC),default)
CC := gcc
endif

# One folder a configuration: build, build-clang, build-thread, build-address-undefined, ...
comma := ,
BUILD := build$(if $(filter-out gcc,$(CC)),-$(notdir $(CC)))
BUILD := $(BUILD)$(if $(SANITIZE),-$(subst $(comma),-,$(SANITIZE)))$(if $(COVERAGE),-coverage)

OPTIONS := -Dbuildtype=release
ifneq ($(SANITIZE)$(COVERAGE),)
OPTIONS := -Dbuildtype=debugoptimized
endif
ifneq ($(SANITIZE),)
OPTIONS += -Db_sanitize=$(SANITIZE) -Db_lundef=false
endif
ifneq ($(findstring undefined,$(SANITIZE)),)
OPTIONS += -Dc_args=-fno-sanitize-recover=undefined
endif
# gcc warns that ThreadSanitizer does not understand fences.  They stand in named functions only
# (base/slot_word.c), which the model and the stress test look after.
ifeq ($(SANITIZE)-$(filter gcc,$(CC)),thread-gcc)
OPTIONS += -Dc_args=-Wno-tsan
endif
ifneq ($(COVERAGE),)
OPTIONS += -Db_coverage=true
endif

CONFIGURATION := $(if $(filter-out gcc,$(CC)),CC=$(CC)) $(if $(SANITIZE),SANITIZE=$(SANITIZE)) \
	$(if $(COVERAGE),COVERAGE=$(COVERAGE))
IS_DEFAULT := $(if $(strip $(CONFIGURATION)),,yes)

# The tests with a real SGLang; tools/run-tests reads it.
export SGLANG

.NOTPARALLEL:
.PHONY: help demo demo-sglang test test-quick bench install wheel format clean compile packages \
	print-build

help:  ## shows this list
	@echo "PeerCache: shares KV-cache pages between processes and hosts."
	@echo
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/    make \1\t\2/p' Makefile | expand -t 24
	@echo
	@echo "Configurations, each in a build folder of its own (test, test-quick, compile):"
	@printf '    %-30s%s\n' CC=clang 'the other compiler' \
	    SANITIZE=address,undefined 'ASan and UBSan' SANITIZE=thread 'TSan' \
	    COVERAGE=1 'line coverage, reported after the tests'

demo: packages compile  ## runs a cluster on loopback and compares every byte [TRACE=FILE]
	$(PYTHON) tools/demo --build $(BUILD) $(if $(TRACE),--trace '$(TRACE)')

demo-sglang: packages compile  ## runs two SGLang engines on the CPU that share the pages of chats
	$(PYTHON) tools/demo-sglang --build $(BUILD)

test: packages  ## builds in all configurations and runs every test [SGLANG=1]
ifeq ($(IS_DEFAULT),yes)
	@tools/install-packages rdma
	@$(PYTHON) tools/run-tests full
else
	@$(PYTHON) tools/run-tests one $(CONFIGURATION)
endif
ifneq ($(COVERAGE),)
	@tools/install-packages coverage
	gcovr --root . --filter src/ --exclude '.*_test\.c' $(BUILD)
endif

test-quick: packages  ## runs the unit tests and a short simulation
	@$(PYTHON) tools/run-tests quick

bench: compile  ## measures ratios and prints them as a table
	@tools/install-packages build bench
	$(PYTHON) bench/run --build $(BUILD)

install: compile  ## installs the library, programs and manuals [PREFIX=/usr/local DESTDIR=]
	@$(MESON) configure $(BUILD) -Dprefix='$(abspath $(PREFIX))'
	DESTDIR='$(DESTDIR)' $(MESON) install -C $(BUILD)
ifeq ($(DESTDIR),)
	@! test -w /etc/ld.so.cache || /sbin/ldconfig
	@echo "SGLang's python must find the package:" \
	    "export PYTHONPATH=$$(dirname "$$(find '$(abspath $(PREFIX))/lib' -name peercache -path '*dist-packages*' | head -n 1)")"
endif

wheel:  ## builds one wheel for all Pythons from 3.9 [WHEEL_DIR=build/wheel]
	@tools/install-packages build wheel
	@tools/make-wheel '$(WHEEL_DIR)'

format:  ## lays out the C sources with clang-format
	@tools/install-packages format
	find include src cmd python tests bench -name '*.[ch]' -exec clang-format -i {} +

clean:  ## removes the build folders
	rm -rf build build-*

compile: $(BUILD)/build.ninja  ## builds one configuration
	@$(MESON) compile -C $(BUILD)

# The packages come before the first configuration of a folder, not before every build.
$(BUILD)/build.ninja:
	@tools/install-packages build
	CC=$(CC) $(MESON) setup $(BUILD) $(OPTIONS)

packages:
	@tools/install-packages build test wheel

print-build:
	@echo $(BUILD)
