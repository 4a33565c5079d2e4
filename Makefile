# sluice: make demo, make test, make install.  See README.md and CONTRIBUTING.md.
#
#   make            the program build/sluice and the library
#   make SAN=1      the same with AddressSanitizer and UBSan, into build-asan/
#   make SAN=thread the same with ThreadSanitizer, into build-tsan/
#
# The baseline build runs on any x86-64 or arm64.  Only files named after an
# instruction set (*_avx2.c ...) get flags for it; they are reached at run time
# where the CPU and the OS allow.

CC      ?= cc
PREFIX  ?= /usr/local
DESTDIR ?=

ARCH := $(shell $(CC) -dumpmachine | cut -d- -f1)
ifeq ($(SAN),1)
  B := build-asan
  SANFLAGS := -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer -O1
else ifeq ($(SAN),thread)
  B := build-tsan
  SANFLAGS := -fsanitize=thread -O1
else
  B ?= build
endif

PKGS := liburing libpcre2-8
WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla
# -ffp-contract=off: the arithmetic is defined operation by operation (docs/ARCHITECTURE.md).
BASE := -std=c17 -O3 -g $(WARN) -ffp-contract=off -fno-math-errno -fno-trapping-math -fvisibility=hidden -fPIC \
        -D_GNU_SOURCE -Iinclude -Isrc -pthread
CFLAGS  ?=
ifeq ($(shell pkg-config --exists liburing && echo yes),yes)
  BASE += -DHAVE_LIBURING
endif
ALL_CFLAGS = $(BASE) $(ISA) $(SANFLAGS) $(shell pkg-config --cflags $(PKGS) 2>/dev/null) $(CFLAGS)
LIBS = $(shell pkg-config --libs $(PKGS) 2>/dev/null) -lm -pthread

LIB_DIRS := base format io kernels model text state stream blocks arch engine
X86_ONLY := %_avx2.c %_avx512.c %_amx.c
ARM_ONLY := %_neon.c
SRC := $(foreach d,$(LIB_DIRS),$(wildcard src/$(d)/*.c))
APP := $(wildcard src/app/*.c)
ifeq ($(ARCH),x86_64)
  SRC := $(filter-out $(ARM_ONLY),$(SRC))
else
  SRC := $(filter-out $(X86_ONLY),$(SRC))
endif
OBJ := $(SRC:%.c=$(B)/%.o)
APP_OBJ := $(APP:%.c=$(B)/%.o)

.PHONY: all clean
all: $(B)/libsluice.a $(if $(APP),$(B)/sluice)

$(B)/%_avx2.o:   ISA = -mavx2 -mfma -mf16c -mbmi2
$(B)/%_avx512.o: ISA = -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni -mavx2 -mfma -mf16c -mbmi2 -mprefer-vector-width=512
$(B)/%_amx.o:    ISA = -mamx-tile -mamx-int8 -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni -mavx2 -mfma -mf16c -mbmi2

$(B)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

$(B)/libsluice.a: $(OBJ)
	@rm -f $@
	ar rcs $@ $^

$(B)/sluice: $(APP_OBJ) $(B)/libsluice.a
	$(CC) $(SANFLAGS) $(CFLAGS) -o $@ $^ $(LIBS)

# Unit tests: tests/unit/NAME.c is one cmocka program.
UNIT := $(patsubst tests/unit/%.c,$(B)/tests/unit/%,$(wildcard tests/unit/*.c))
$(B)/tests/unit/%: tests/unit/%.c $(B)/libsluice.a
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -MMD -MP -o $@ $< $(B)/libsluice.a -lcmocka $(LIBS)
.PHONY: unit
unit: $(UNIT)
	@set -e; for t in $(UNIT); do echo "== $$t"; $$t; done

# Models against their references: tests/golden/run_golden.sh runs it on each.
$(B)/tests/golden/%: tests/golden/%.c $(B)/libsluice.a
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -MMD -MP -o $@ $< $(B)/libsluice.a $(LIBS)

# Programs that the reference scripts drive.
$(B)/tests/references/%: tests/references/%.c $(B)/libsluice.a
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -MMD -MP -o $@ $< $(B)/libsluice.a $(LIBS)

# check_kernels: every micro-kernel against the reference; tests/check_kernels/run_check_kernels.sh runs it.
CHECK_KERNELS := $(B)/tests/check_kernels/check_kernels
$(CHECK_KERNELS): $(wildcard tests/check_kernels/*.c) $(B)/libsluice.a
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -o $@ $^ $(LIBS)
.PHONY: check_kernels
check_kernels: $(CHECK_KERNELS)

clean:
	rm -rf build build-asan build-tsan

-include $(OBJ:.o=.d) $(APP_OBJ:.o=.d) $(UNIT:=.d)
