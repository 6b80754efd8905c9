# Postrider. `make demo` runs the main job from nothing, `make test` passes the tests from nothing;
# `make help` lists the rest. SANITIZER=address,undefined or =thread builds apart, in build-<name>; so does
# TINY=1, with the small limits of engine/limits.h.
SHELL := /bin/bash
CC ?= gcc
comma := ,
SANITIZER ?=
TINY ?=
B := build$(if $(TINY),-tiny)$(if $(SANITIZER),-$(subst $(comma),-,$(SANITIZER)))$(if $(filter clang%,$(CC)),-clang)
VERSION := 0.1.0
PKGS := liburing lmdb libcares openssl libmicrohttpd jansson libfyaml libidn2 libpsl liburcu libxxhash libpcre2-8 libseccomp libxml-2.0 libcurl zlib libcrypt
WARN := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wvla
HARDEN := $(if $(SANITIZER),-fsanitize=$(SANITIZER) -fno-sanitize-recover=undefined -fno-omit-frame-pointer,-D_FORTIFY_SOURCE=2 -fstack-protector-strong -fPIE)
OPT ?= -O2 -g
PKG_CFLAGS := $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
CFLAGS_ALL = -std=c17 -D_GNU_SOURCE -I. -DPOSTRIDER_VERSION='"$(VERSION)"' $(if $(TINY),-DPOSTRIDER_TINY) $(WARN) $(OPT) $(HARDEN) \
	$(PKG_CFLAGS) -pthread $(CFLAGS)
LDFLAGS_ALL = $(if $(SANITIZER),-fsanitize=$(SANITIZER),-pie -Wl$(comma)-z$(comma)relro$(comma)-z$(comma)now) -pthread $(LDFLAGS)
LIBS := -Wl,--as-needed $(shell pkg-config --libs $(PKGS) 2>/dev/null) -lresolv
PY := /usr/bin/python3
PREFIX ?= /usr/local

ENGINE := $(filter-out engine/main.c,$(wildcard engine/*.c engine/*/*.c)) $(wildcard queue/*.c)
TOOLS := $(wildcard tools/*.c)
SENDMAIL := $(wildcard tools/sendmail/*.c)
PROGRAMS := $B/postriderd $B/postrider $B/sendmail $B/world
obj = $(patsubst %.c,$B/obj/%.o,$(1))
# $(call link,FLAGS,LIBRARIES)
link = @mkdir -p $(@D) && echo "  LINK  $@" && $(CC) $(LDFLAGS_ALL) $(1) -o $@ $^ $(2) $(LIBS)

.PHONY: all help programs man demo test lint install deb clean deps-%
.SECONDARY:
all: deps-build
	@$(MAKE) --no-print-directory programs
help:
	@sed -n 's/^#: //p' Makefile
#: make              build everything into build/ (installs what is missing)
#: make demo         from nothing: a newsletter to 20,000 people
#: make test         every test that fits in ten minutes, from nothing
#: make test-all     the same, and under ASan+UBSan, and under TSan
#: make tiny         the same with every buffer, window and table as small as can be, in build-tiny
#: make fuzz         looks for input that breaks a parser, SECONDS=60 each; fuzz-short: 10
#: make lint         includes, banned calls, lengths, clang-tidy, cppcheck, format
#: make crash        ROUNDS=1000: kill -9 at random moments, and what must hold after it
#: make powercut     CUTS=100000: the power is cut at any write, and what must hold after it
#: make alloc        EACH=0: each allocation of the unit programs fails once; EACH=N: N of each
#: make sim          SEEDS=1000: the daemon in one thread on virtual time, faults and receivers made of seeds
#: make sim-selftest a bug planted for each of its checkers, which it must find
#: make coverage     how many lines the tests run, by part
#: make memory       none left with 10,000,000 recipients queued and 10,000 sessions; and what must hold after it
#: make nightly      test-all, tiny, sim with 100,000 seeds, 100,000 power cuts, 1,000 kills, alloc EACH=300, memory, fuzz, coverage: hours
#: make man          the manual pages, into build/man/
#: make bench        what this machine does; BENCH="--help" explains
#: make compare      against other engines on this machine (root: a network of its own)
#: make install      DESTDIR= PREFIX=/usr/local
#: make deb          a Debian package of that, build/postrider_*.deb
#: make clean
programs: $(PROGRAMS)

include bench/bench.mk tests/tests.mk
$B/obj/%.o: %.c
	@mkdir -p $(@D)
	@echo "  CC    $<"
	@$(CC) $(CFLAGS_ALL) -MMD -MP -c -o $@ $<
$B/obj/engine/config_replies.o: deploy/replies.yaml
$B/obj/engine/admin/calls_dashboard.o: engine/admin/dashboard.html
$B/libpostrider.a: $(call obj,$(ENGINE))
	@rm -f $@ && ar rcs $@ $^
$B/postriderd: $B/obj/engine/main.o $B/libpostrider.a
	$(call link)
$B/postrider: $(call obj,$(TOOLS)) $B/libpostrider.a
	$(call link)
$B/sendmail: $(call obj,$(SENDMAIL)) $B/libpostrider.a
	$(call link)
$B/man/%: deploy/man/% $B/postrider
	@mkdir -p $(@D) && $B/postrider roff < $< > $@
man: $(patsubst deploy/man/%,$B/man/%,$(wildcard deploy/man/*))
-include $(shell find $B/obj -name '*.d' 2>/dev/null)

demo: deps-demo
	@$(MAKE) --no-print-directory -j2 programs
	@bench/demo.sh $B
test: deps-test
	@$(MAKE) --no-print-directory -j2 programs units
	@$(MAKE) --no-print-directory test-unit test-integration
lint: deps-lint
	@tests/lint.py
install: all man
	install -Dm755 $B/postriderd $(DESTDIR)$(PREFIX)/sbin/postriderd
	install -Dm755 $B/postrider $(DESTDIR)$(PREFIX)/bin/postrider
	install -d $(DESTDIR)$(PREFIX)/lib/systemd/system && sed 's|@PREFIX@|$(PREFIX)|' deploy/postriderd.service > $(DESTDIR)$(PREFIX)/lib/systemd/system/postriderd.service
	install -Dm755 $B/sendmail $(DESTDIR)$(PREFIX)/lib/postrider/sendmail
	for page in $B/man/*; do install -Dm644 $$page $(DESTDIR)$(PREFIX)/share/man/man$${page##*.}/$${page##*/}; done
	install -Dm644 deploy/replies.yaml $(DESTDIR)$(PREFIX)/share/doc/postrider/replies.yaml
	install -Dm644 deploy/examples/postrider.yaml $(DESTDIR)$(PREFIX)/share/doc/postrider/examples/postrider.yaml
deb: deps-deb all man
	@deploy/deb $B $(VERSION)

deps-%:
	@deploy/install-deps $*
clean:
	rm -rf build build-*
