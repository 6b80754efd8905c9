# Postrider. `make demo` runs the main job from nothing, `make test` passes the tests from nothing;
# `make help` lists the rest. SANITIZER=address,undefined or =thread builds apart, in build-<name>.
SHELL := /bin/bash
CC ?= gcc
comma := ,
SANITIZER ?=
B := build$(if $(SANITIZER),-$(subst $(comma),-,$(SANITIZER)))$(if $(filter clang%,$(CC)),-clang)
VERSION := 0.1.0
PKGS := liburing lmdb libcares openssl libmicrohttpd jansson libfyaml libidn2 libpsl liburcu libxxhash
WARN := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wvla
HARDEN := $(if $(SANITIZER),-fsanitize=$(SANITIZER) -fno-omit-frame-pointer,-D_FORTIFY_SOURCE=2 -fstack-protector-strong -fPIE)
OPT ?= -O2 -g
CFLAGS_ALL = -std=c17 -D_GNU_SOURCE -I. -DPOSTRIDER_VERSION='"$(VERSION)"' -DUSE_SYSTEM_LMDB $(WARN) $(OPT) $(HARDEN) \
	$(shell pkg-config --cflags $(PKGS) 2>/dev/null) -pthread $(CFLAGS)
LDFLAGS_ALL = $(if $(SANITIZER),-fsanitize=$(SANITIZER),-pie -Wl$(comma)-z$(comma)relro$(comma)-z$(comma)now) -pthread $(LDFLAGS)
LIBS = $(shell pkg-config --libs $(PKGS) 2>/dev/null)
PY := /usr/bin/python3

ENGINE := $(filter-out engine/main.c,$(wildcard engine/*.c engine/*/*.c)) $(wildcard queue/*.c)
UNIT := $(patsubst tests/unit/%.c,$B/unit/%,$(wildcard tests/unit/test_*.c))
UNIT_PARTS := $(filter-out tests/unit/test_%,$(wildcard tests/unit/*.c))
WORLD := $(wildcard bench/world/*.c)
TOOLS := $(filter-out tools/sendmail.c,$(wildcard tools/*.c))
PROGRAMS := $B/postriderd $B/postrider $B/world
obj = $(patsubst %.c,$B/obj/%.o,$(1))

.PHONY: all help demo test test-all lint bench compare sanitize install clean deps-%
.SECONDARY:
all: deps-build
	@$(MAKE) --no-print-directory programs
programs: $(PROGRAMS)
units: $(UNIT)

$B/obj/%.o: %.c
	@mkdir -p $(@D)
	@echo "  CC    $<"
	@$(CC) $(CFLAGS_ALL) -MMD -MP -c -o $@ $<
$B/libpostrider.a: $(call obj,$(ENGINE))
	@rm -f $@ && ar rcs $@ $^
$B/postriderd: $B/obj/engine/main.o $B/libpostrider.a
	@echo "  LINK  $@" && $(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS)
$B/postrider: $(call obj,$(TOOLS)) $B/libpostrider.a
	@echo "  LINK  $@" && $(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS)
$B/world: $(call obj,$(WORLD)) $B/libpostrider.a
	@echo "  LINK  $@" && $(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS)
$B/libunit.a: $(call obj,$(UNIT_PARTS))
	@rm -f $@ && ar rcs $@ $^
$B/unit/%: $B/obj/tests/unit/%.o $B/libunit.a $B/libpostrider.a
	@mkdir -p $(@D)
	@echo "  LINK  $@" && $(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS) $(shell pkg-config --libs cmocka)
-include $(shell find $B/obj -name '*.d' 2>/dev/null)

deps-%:
	@deploy/install-deps $*
clean:
	rm -rf build build-*
