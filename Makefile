# sluice: make demo, make test, make install.  See README.md and CONTRIBUTING.md.
#
#   make                  the program build/sluice, libsluice.a and libsluice.so
#   make demo             installs what is missing (Debian), builds, and lets the demo model write
#   make test             the same, then every test that needs Debian packages only
#   make check-references the tests against packages from PyPI, in a virtual environment
#   make install          PREFIX (/usr/local) and DESTDIR are respected; make uninstall
#   make asan, make tsan  the tests under AddressSanitizer and UBSan, and under ThreadSanitizer
#   make arm64            a static arm64 build, in build-arm64/; make test-arm64 runs the tests of it under
#                         qemu-user, make test-arm64-short two minutes of them
#   make fuzz-short       each fuzzer for FUZZ_SECONDS (20)
#   make deps, deps-dev, deps-arm64   what the above need
#
# Variables: CC, CFLAGS, LDFLAGS; SAN=1 (address, undefined) or SAN=thread; ARM64=1; FUZZ=1.
# A change of flags rebuilds everything.
#
# The baseline build runs on any x86-64 or arm64.  Only files named after an
# instruction set (*_avx2.c ...) get flags for it; they are reached at run time
# where the CPU and the OS allow.

PREFIX  ?= /usr/local
LIBDIR  ?= $(PREFIX)/lib
DESTDIR ?=
FUZZ_SECONDS ?= 20
VERSION := $(shell awk '/define SLUICE_VERSION_(MAJOR|MINOR|PATCH)/ {printf "%s%s", d, $$3; d = "."}' include/sluice.h)
SOVERSION := $(firstword $(subst ., ,$(VERSION)))

# ---- which build --------------------------------------------------------------------------------

B := build
PKG_CONFIG ?= pkg-config
RUN_UNDER :=
ifeq ($(SAN),1)
  B := build-asan
  SANFLAGS := -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer -O1 -g1
else ifeq ($(SAN),thread)
  B := build-tsan
  # That warning does not see through instrumented code: it names variables that every path sets.
  SANFLAGS := -fsanitize=thread -O1 -g1 -Wno-maybe-uninitialized
else ifeq ($(FUZZ),1)
  B := build-fuzz
  CC := clang
  SANFLAGS := -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined \
              -fno-omit-frame-pointer -O1 -g1
else ifeq ($(ARM64),1)
  B := build-arm64
  CC := aarch64-linux-gnu-gcc
  PKG_CONFIG := PKG_CONFIG_LIBDIR=/usr/lib/aarch64-linux-gnu/pkgconfig pkg-config --static
  STATIC := -static
  RUN_UNDER := qemu-aarch64-static -cpu max
endif
ARCH := $(shell $(CC) -dumpmachine 2>/dev/null | cut -d- -f1)

# io_uring is optional; without it sluice reads with threads.
PKGS := $(shell $(PKG_CONFIG) --exists liburing 2>/dev/null && echo liburing)
WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla
# -ffp-contract=off: the arithmetic is defined operation by operation (docs/ARCHITECTURE.md).
BASE := -std=c17 -O3 -g $(WARN) -ffp-contract=off -fno-math-errno -fno-trapping-math -fvisibility=hidden -fPIC \
        -D_GNU_SOURCE -Iinclude -Isrc -pthread $(if $(filter liburing,$(PKGS)),-DHAVE_LIBURING) \
        $(if $(PKGS),$(shell $(PKG_CONFIG) --cflags $(PKGS)))
CFLAGS  ?=
LDFLAGS ?=
ALL_CFLAGS = $(BASE) $(ISA) $(SANFLAGS) $(CFLAGS)
LIBS := $(if $(PKGS),$(shell $(PKG_CONFIG) --libs $(PKGS))) -lm -pthread
# The program alone: JSON.
APP_LIBS := $(shell $(PKG_CONFIG) --libs jansson 2>/dev/null || echo -ljansson)
LINK = $(CC) $(SANFLAGS) $(CFLAGS) $(LDFLAGS)

# ---- sources ------------------------------------------------------------------------------------

LIB_DIRS := base format io kernels model text state stream blocks arch engine
X86_ONLY := %_avx2.c %_avx512.c %_vbmi.c %_amx.c
ARM_ONLY := %_neon.c %_dotprod.c %_i8mm.c
SRC := $(foreach d,$(LIB_DIRS),$(wildcard src/$(d)/*.c))
APP := $(wildcard src/app/*.c)
SRC := $(filter-out $(if $(filter x86_64,$(ARCH)),$(ARM_ONLY),$(X86_ONLY)),$(SRC))
OBJ := $(SRC:%.c=$(B)/%.o)
APP_OBJ := $(APP:%.c=$(B)/%.o)
SO := $(B)/libsluice.so.$(VERSION)
PROGRAM := $(if $(APP),$(B)/sluice)

.PHONY: all clean FORCE
.DELETE_ON_ERROR:
all: $(B)/libsluice.a $(if $(STATIC),,$(SO)) $(PROGRAM)

$(B)/%_avx2.o:   ISA = -mavx2 -mfma -mf16c -mbmi2
$(B)/%_avx512.o: ISA = -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni -mavx2 -mfma -mf16c -mbmi2 -mprefer-vector-width=512
$(B)/%_vbmi.o:   ISA = -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni -mavx512vbmi -mgfni -mavx2 -mfma -mf16c -mbmi2 -mprefer-vector-width=512
$(B)/%_amx.o:    ISA = -mamx-tile -mamx-int8 -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni -mavx2 -mfma -mf16c -mbmi2

$(B)/%_dotprod.o: ISA = -march=armv8.2-a+dotprod
$(B)/%_i8mm.o:   ISA = -march=armv8.2-a+dotprod+i8mm

# kern_amx.c again, with tiles in software.
ifeq ($(ARCH),x86_64)
$(B)/tests/check_kernels/check_amx.o: ISA = -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni -mavx2 -mfma -mf16c -mbmi2
else
# An empty file there, but its name ends like those that want x86's flags.
$(B)/tests/check_kernels/check_amx.o: ISA =
endif

ifeq ($(FUZZ),1)
# Fuzzers read files and texts; kernels are slow to build with checks in every lane.  With so little optimisation
# clang says of loops that it does not unroll them.
$(B)/src/kernels/%.o $(B)/src/blocks/%.o: SANFLAGS = -O1 -g1 -Wno-pass-failed
endif

# Two stamps, rewritten only when their content changes: the flags that every
# object is made with, and the objects that the library is made of.
FLAGS_ID := $(shell $(CC) --version 2>/dev/null | head -1) $(CC) $(BASE) $(SANFLAGS) $(CFLAGS) $(LDFLAGS) $(LIBS)
$(B)/flags.stamp: STAMP = $(FLAGS_ID)
$(B)/objects.stamp: STAMP = $(OBJ) $(APP_OBJ)
$(B)/flags.stamp $(B)/objects.stamp: FORCE
	@mkdir -p $(@D); printf '%s\n' '$(STAMP)' | cmp -s - $@ || printf '%s\n' '$(STAMP)' > $@

$(B)/%.o: %.c $(B)/flags.stamp
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

$(B)/libsluice.a: $(OBJ) $(B)/objects.stamp
	@rm -f $@
	ar rcs $@ $(OBJ)

# Only what sluice.h marks SLUICE_API is visible in it.
$(SO): $(OBJ) $(B)/objects.stamp
	$(LINK) -shared -Wl,-soname,libsluice.so.$(SOVERSION) -o $@ $(OBJ) $(LIBS)
	@ln -sf $(@F) $(B)/libsluice.so.$(SOVERSION)
	@ln -sf libsluice.so.$(SOVERSION) $(B)/libsluice.so

# A program for another machine is put behind a script that starts the emulator,
# so that every test can run it as if it were native.
HASH := \#
wrap = $(if $(RUN_UNDER),mv $@ $@.elf; printf '$(HASH)!/bin/sh\nexec $(RUN_UNDER) "$$0.elf" "$$@"\n' > $@; chmod +x $@)

$(B)/sluice: $(APP_OBJ) $(B)/libsluice.a
	$(LINK) $(STATIC) -o $@ $(APP_OBJ) $(B)/libsluice.a $(APP_LIBS) $(LIBS)
	@$(wrap)

# ---- tests --------------------------------------------------------------------------------------
#
# tests/unit/NAME.c is one cmocka program.  Another folder tests/DIR with a DIR.c is one program of all
# its .c files; without one, each of its .c files is a program.  tests/common/*.c is linked into all.
# An executable tests/DIR/run_*.sh is a test and gets B; a program of a folder
# without such a script is run as it is.  Exit 77 says: cannot run here.  tests/toy_ops is part of a unit test.

TEST_CFLAGS = $(ALL_CFLAGS) -Itests
COMMON_OBJ := $(patsubst %.c,$(B)/%.o,$(wildcard tests/common/*.c))
UNIT := $(patsubst tests/unit/%.c,$(B)/tests/unit/%,$(wildcard tests/unit/*.c))
TEST_DIRS := $(filter-out unit common fuzz toy_ops,$(patsubst tests/%/,%,$(sort $(dir $(wildcard tests/*/*.c)))))
TEST_PROGS :=

$(B)/tests/%.o: tests/%.c $(B)/flags.stamp
	@mkdir -p $(@D)
	$(CC) $(TEST_CFLAGS) -MMD -MP -c -o $@ $<

# cmocka comes as a shared library only.
$(UNIT): %: %.o $(COMMON_OBJ) $(B)/libsluice.a
	$(LINK) -o $@ $(filter %.o %.a,$^) -lcmocka $(LIBS)
	@$(wrap)

define test_program # program, its objects
TEST_PROGS += $(1)
$(1): $(2) $$(COMMON_OBJ) $$(B)/libsluice.a
	$$(LINK) $$(STATIC) -o $$@ $$(filter %.o %.a,$$^) $$(LIBS)
	@$$(wrap)
endef
objects_of = $(patsubst %.c,$(B)/%.o,$(1))
$(foreach d,$(TEST_DIRS),$(if $(wildcard tests/$(d)/$(d).c),\
  $(eval $(call test_program,$(B)/tests/$(d)/$(d),$(call objects_of,$(wildcard tests/$(d)/*.c)))),\
  $(foreach c,$(wildcard tests/$(d)/*.c),$(eval $(call test_program,$(B)/$(c:.c=),$(call objects_of,$(c)))))))

# What a person calls without -j uses all cores.
JOBS = $(if $(filter -j% --jobserver%,$(MAKEFLAGS)),,-j$(shell nproc 2>/dev/null || echo 2))

.PHONY: tests unit test test-built check-references
tests: all $(UNIT) $(TEST_PROGS)

unit: $(UNIT)
	@B=$(B) tests/run.sh $(UNIT)

.PHONY: check_kernels
check_kernels: $(B)/tests/check_kernels/check_kernels

# A program that does not build is a test that fails; the others run.
test-built:
	@$(MAKE) --no-print-directory -k tests || true
	@B=$(B) tests/run.sh

# Packages may appear during `deps`, so the rest runs in a new make that sees them.
test: deps
	@$(MAKE) $(JOBS) --no-print-directory test-built

# Minutes and gigabytes: not part of test.
.PHONY: check-budget
check-budget: all
	@BUDGET_FULL=1 B=$(B) tests/budget/run_budget.sh

check-references: deps
	@$(MAKE) $(JOBS) --no-print-directory tests
	@B=$(B) tests/references/run.sh

.PHONY: demo asan tsan arm64 test-arm64 test-arm64-short fuzz fuzz-short
demo: deps
	@$(MAKE) $(JOBS) --no-print-directory all
	@B=$(B) demo/run.sh

asan:
	@$(MAKE) $(JOBS) --no-print-directory SAN=1 test-built
tsan:
	@$(MAKE) $(JOBS) --no-print-directory SAN=thread test-built
arm64:
	@$(MAKE) $(JOBS) --no-print-directory ARM64=1 all
test-arm64:
	@$(MAKE) $(JOBS) --no-print-directory ARM64=1 test-built
# Two minutes of it: every kernel at every level, and every family's model to the bit.
SHORT := check_kernels golden
test-arm64-short:
	@$(MAKE) $(JOBS) --no-print-directory ARM64=1 all $(foreach t,$(SHORT),build-arm64/tests/$(t)/$(t))
	@B=build-arm64 tests/run.sh build-arm64/tests/check_kernels/check_kernels tests/arm64/run_levels.sh \
	    tests/golden/run_golden.sh

# tests/fuzz/NAME.c defines LLVMFuzzerTestOneInput; tests/fuzz/corpus/NAME/ is what it starts from.
ifeq ($(FUZZ),1)
FUZZERS := $(patsubst tests/fuzz/%.c,$(B)/tests/fuzz/%,$(wildcard tests/fuzz/*.c))
$(FUZZERS): %: %.o $(COMMON_OBJ) $(B)/libsluice.a
	$(LINK) -fsanitize=fuzzer -o $@ $(filter %.o %.a,$^) $(LIBS)
fuzzers: $(FUZZERS)
endif
fuzz:
	@$(MAKE) $(JOBS) --no-print-directory FUZZ=1 fuzzers
fuzz-short: fuzz
	@B=build-fuzz FUZZ_SECONDS=$(FUZZ_SECONDS) tests/fuzz/run.sh

# ---- packages, installation -----------------------------------------------------------------------

.PHONY: deps deps-dev deps-arm64 install uninstall
deps:
	@tools/install_deps.sh build
deps-dev:
	@tools/install_deps.sh build dev
deps-arm64:
	@tools/install_deps.sh build arm64

MAN := $(wildcard man/*.1)
define PC
prefix=$(PREFIX)
libdir=$(LIBDIR)
includedir=$${prefix}/include

Name: sluice
Description: Runs Mixture-of-Experts language models that are larger than memory
Version: $(VERSION)
Libs: -L$${libdir} -lsluice
Libs.private: -lm -pthread
Requires.private: $(PKGS)
Cflags: -I$${includedir}
endef
export PC

install: all
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/include $(DESTDIR)$(LIBDIR)/pkgconfig \
	    $(DESTDIR)$(PREFIX)/share/man/man1
	$(if $(PROGRAM),install -m 755 $(PROGRAM) $(DESTDIR)$(PREFIX)/bin/)
	install -m 644 include/sluice.h $(DESTDIR)$(PREFIX)/include/
	install -m 644 $(B)/libsluice.a $(DESTDIR)$(LIBDIR)/
	install -m 755 $(SO) $(DESTDIR)$(LIBDIR)/
	ln -sf libsluice.so.$(VERSION) $(DESTDIR)$(LIBDIR)/libsluice.so.$(SOVERSION)
	ln -sf libsluice.so.$(SOVERSION) $(DESTDIR)$(LIBDIR)/libsluice.so
	printf '%s\n' "$$PC" > $(DESTDIR)$(LIBDIR)/pkgconfig/sluice.pc
	$(if $(MAN),install -m 644 $(MAN) $(DESTDIR)$(PREFIX)/share/man/man1/)
	@if [ -z "$(DESTDIR)" ] && [ "$$(id -u)" = 0 ]; then ldconfig || true; fi

uninstall:
	rm -f $(DESTDIR)$(PREFIX)/bin/sluice $(DESTDIR)$(PREFIX)/include/sluice.h \
	    $(DESTDIR)$(LIBDIR)/libsluice.a $(DESTDIR)$(LIBDIR)/libsluice.so \
	    $(DESTDIR)$(LIBDIR)/libsluice.so.$(SOVERSION) $(DESTDIR)$(LIBDIR)/libsluice.so.$(VERSION) \
	    $(DESTDIR)$(LIBDIR)/pkgconfig/sluice.pc \
	    $(foreach m,$(MAN),$(DESTDIR)$(PREFIX)/share/man/man1/$(notdir $(m)))

clean:
	rm -rf build build-asan build-tsan build-fuzz build-arm64 build-clang

DEPS := $(OBJ:.o=.d) $(APP_OBJ:.o=.d) $(shell find $(B)/tests -name '*.d' 2>/dev/null)
-include $(DEPS)
