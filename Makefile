# Postrider. `make demo` runs the main job from nothing, `make test` passes the tests from nothing;
# `make help` lists the rest. SANITIZER=address,undefined or =thread builds apart, in build-<name>.
SHELL := /bin/bash
CC ?= gcc
comma := ,
SANITIZER ?=
B := build$(if $(SANITIZER),-$(subst $(comma),-,$(SANITIZER)))$(if $(filter clang%,$(CC)),-clang)
VERSION := 0.1.0
PKGS := liburing lmdb libcares openssl libmicrohttpd jansson libfyaml libidn2 libpsl liburcu libxxhash libpcre2-8 libseccomp libxml-2.0 libcurl zlib libcrypt
WARN := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wvla
HARDEN := $(if $(SANITIZER),-fsanitize=$(SANITIZER) -fno-sanitize-recover=undefined -fno-omit-frame-pointer,-D_FORTIFY_SOURCE=2 -fstack-protector-strong -fPIE)
OPT ?= -O2 -g
PKG_CFLAGS := $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
CFLAGS_ALL = -std=c17 -D_GNU_SOURCE -I. -DPOSTRIDER_VERSION='"$(VERSION)"' $(WARN) $(OPT) $(HARDEN) \
	$(PKG_CFLAGS) -pthread $(CFLAGS)
LDFLAGS_ALL = $(if $(SANITIZER),-fsanitize=$(SANITIZER),-pie -Wl$(comma)-z$(comma)relro$(comma)-z$(comma)now) -pthread $(LDFLAGS)
LIBS := -Wl,--as-needed $(shell pkg-config --libs $(PKGS) 2>/dev/null) -lresolv
PY := /usr/bin/python3
PREFIX ?= /usr/local

ENGINE := $(filter-out engine/main.c,$(wildcard engine/*.c engine/*/*.c)) $(wildcard queue/*.c)
UNIT := $(patsubst tests/unit/%.c,$B/unit/%,$(wildcard tests/unit/test_*.c))
UNIT_PARTS := $(filter-out tests/unit/test_%,$(wildcard tests/unit/*.c))
FUZZ := $(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
WORLD := $(wildcard bench/world/*.c)
LOAD := $(wildcard bench/load/*.c)
LOAD_PARTS := $(filter-out bench/load/main.c bench/load/verb_%,$(LOAD))
RAW := $(wildcard bench/raw/*.c)
TOOLS := $(wildcard tools/*.c)
SENDMAIL := $(wildcard tools/sendmail/*.c)
POWERCUT := $(wildcard tests/crash/*.c)
# tests/crash: what these calls do, LMDB's own among them, is recorded there.
WRAPPED := open close mkdir rename unlink ftruncate fallocate fsync fdatasync pwrite write writev mmap mdb_put store_operate log_info
SIM := $(wildcard tests/sim/*.c)
SIM_SEAMS := prng_seed getrlimit fallocate socket setsockopt bind close inbox_post look_wait secure_load trusts_destroy
PROGRAMS := $B/postriderd $B/postrider $B/sendmail $B/world
BENCH_PROGRAMS := $B/load $B/raw $B/message_bench
obj = $(patsubst %.c,$B/obj/%.o,$(1))

.PHONY: all help programs units man demo test test-unit test-integration test-all fuzz fuzz-short libfuzzers crash powercut alloc sim sim-selftest coverage nightly lint bench compare install deb clean deps-%
.SECONDARY:
all: deps-build
	@$(MAKE) --no-print-directory programs
help:
	@sed -n 's/^#: //p' Makefile
#: make              build everything into build/ (installs what is missing)
#: make demo         from nothing: a newsletter to 20,000 people
#: make test         every test that fits in ten minutes, from nothing
#: make test-all     the same, and under ASan+UBSan, and under TSan
#: make fuzz         looks for input that breaks a parser, SECONDS=60 each; fuzz-short: 10
#: make lint         includes, banned calls, lengths, clang-tidy, cppcheck, format
#: make crash        ROUNDS=1000: kill -9 at random moments, and what must hold after it
#: make powercut     CUTS=100000: the power is cut at any write, and what must hold after it
#: make alloc        EACH=0: each allocation of the unit programs fails once; EACH=N: N of each
#: make sim          SEEDS=1000: the daemon in one thread on virtual time, faults and receivers made of seeds
#: make sim-selftest a bug planted for each of its checkers, which it must find
#: make coverage     how many lines the tests run, by part
#: make nightly      test-all, sim with 100,000 seeds, 100,000 power cuts, 1,000 kills, each allocation, fuzz, coverage: hours
#: make man          the manual pages, into build/man/
#: make bench        what this machine does; BENCH="--help" explains
#: make compare      against other engines on this machine (root: a network of its own)
#: make install      DESTDIR= PREFIX=/usr/local
#: make deb          a Debian package of that, build/postrider_*.deb
#: make clean
programs: $(PROGRAMS)
units: $(UNIT) $(if $(SANITIZER),,$(UNIT:$B/unit/%=$B/alloc/%)) $(FUZZ:%=$B/replay/%) $B/powercut $B/faults.so $B/render $B/sim $(BENCH_PROGRAMS)

$B/obj/%.o: %.c
	@mkdir -p $(@D)
	@echo "  CC    $<"
	@$(CC) $(CFLAGS_ALL) -MMD -MP -c -o $@ $<
$B/obj/engine/config_replies.o: deploy/replies.yaml
$B/obj/engine/admin/calls_dashboard.o: engine/admin/dashboard.html
$B/libpostrider.a: $(call obj,$(ENGINE))
	@rm -f $@ && ar rcs $@ $^
$B/postriderd: $B/obj/engine/main.o $B/libpostrider.a
	@echo "  LINK  $@" && $(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS)
$B/postrider: $(call obj,$(TOOLS)) $B/libpostrider.a
	@echo "  LINK  $@" && $(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS)
$B/sendmail: $(call obj,$(SENDMAIL)) $B/libpostrider.a
	@echo "  LINK  $@" && $(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS)
$B/render: $B/obj/tests/integration/render_main.o $B/libpostrider.a
	@echo "  LINK  $@" && $(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS)
$B/world: $(call obj,$(WORLD)) $B/libpostrider.a
	@echo "  LINK  $@" && $(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS)
$B/libload.a: $(call obj,$(LOAD_PARTS))
	@rm -f $@ && ar rcs $@ $^
$B/load: $(call obj,$(filter-out $(LOAD_PARTS),$(LOAD))) $B/libload.a $B/libpostrider.a
	@echo "  LINK  $@" && $(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS)
$B/raw: $(call obj,$(RAW)) $B/libload.a $B/libpostrider.a
	@echo "  LINK  $@" && $(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS)
$B/sim: $(call obj,$(SIM)) $B/libpostrider.a
	@echo "  LINK  $@" && $(CC) $(LDFLAGS_ALL) $(SIM_SEAMS:%=-Wl,--wrap=%) -o $@ $^ $(LIBS)
$B/selftest/%: $B/selftest/%.c $(call obj,$(SIM)) $B/libpostrider.a
	@$(CC) $(CFLAGS_ALL) -w $(LDFLAGS_ALL) $(SIM_SEAMS:%=-Wl,--wrap=%) -o $@ $^ $(LIBS)
$B/store_bench: $(call obj,bench/store_bench.c) $B/libpostrider.a
	@echo "  LINK  $@" && $(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS)
$B/message_bench: $(call obj,bench/message_bench.c) $B/libpostrider.a
	@echo "  LINK  $@" && $(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS)
$B/libunit.a: $(call obj,$(UNIT_PARTS))
	@rm -f $@ && ar rcs $@ $^
$B/unit/%: $B/obj/tests/unit/%.o $B/libunit.a $B/libpostrider.a
	@mkdir -p $(@D)
	@echo "  LINK  $@" && $(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS) $(shell pkg-config --libs cmocka)
# The unit programs again, on an archive whose allocations are tests/faults/alloc.c's.
ALLOC := malloc=alloc_malloc calloc=alloc_calloc realloc=alloc_realloc aligned_alloc=alloc_aligned strdup=alloc_strdup exit=alloc_exit
$B/alloc/libpostrider.a: $B/libpostrider.a
	@mkdir -p $(@D) && objcopy $(ALLOC:%=--redefine-sym %) $< $@
$B/alloc/%: $B/obj/tests/unit/%.o $B/obj/tests/faults/alloc.o $B/libunit.a $B/alloc/libpostrider.a
	@echo "  LINK  $@" && $(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS) $(shell pkg-config --libs cmocka)
$B/faults.so: tests/faults/preload.c
	@mkdir -p $(@D) && $(CC) -std=c17 -D_GNU_SOURCE $(WARN) -O2 -g -fPIC -shared -Wno-pedantic -o $@ $<
$B/powercut: $(call obj,$(POWERCUT)) $B/libpostrider.a
	@echo "  LINK  $@" && $(CC) $(LDFLAGS_ALL) $(WRAPPED:%=-Wl$(comma)--wrap=%) -o $@ $^ -l:liblmdb.a $(LIBS) $(shell pkg-config --libs cmocka)
$B/replay/%: $B/obj/tests/fuzz/fuzz_%.o $B/obj/tests/fuzz/replay.o $B/libpostrider.a
	@mkdir -p $(@D)
	@echo "  LINK  $@" && $(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS)
$B/libfuzzer/%: $B/obj/tests/fuzz/fuzz_%.o $B/libpostrider.a
	@mkdir -p $(@D)
	@echo "  LINK  $@" && $(CC) $(subst fuzzer-no-link,fuzzer,$(LDFLAGS_ALL)) -o $@ $^ $(LIBS)
libfuzzers: $(FUZZ:%=$B/libfuzzer/%)
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
test-unit: units
	@failed=; for t in $(UNIT); do echo "== $$t"; TSAN_OPTIONS=halt_on_error=1 timeout 300 $$t || failed="$$failed $$t"; done; \
	for t in $(FUZZ); do timeout 300 $B/replay/$$t tests/fuzz/corpus/$$t || failed="$$failed replay/$$t"; done; \
	for option in "--cuts $(or $(CUTS),3000)" --self-test; do timeout 300 $B/powercut $$option || failed="$$failed powercut"; done; \
	echo "== $B/sim"; timeout 300 $B/sim --seeds 300 --jobs 2 --seconds 60 --quiet || failed="$$failed sim"; \
	$(if $(SANITIZER),,$(PY) tests/faults/alloc.py --each 3 $(UNIT:$B/unit/%=$B/alloc/%) || failed="$$failed alloc";) \
	[ -z "$$failed" ] || { echo "failed:$$failed"; exit 1; }
# Three at a time, as they mostly wait. All io_urings of an ordinary user share its limit of locked memory,
# often 8 MiB: with fewer descriptors they are smaller.
test-integration:
	@[ $$(id -u) = 0 ] || ulimit -n 2048; set -x; BUILD=$B $(PY) -m pytest -q -n 3 --dist loadfile --durations=5 \
	  -p no:cacheprovider tests/integration $(PYTEST)
test-all: test
	@$(MAKE) --no-print-directory -j2 SANITIZER=address,undefined programs units
	@$(MAKE) --no-print-directory SANITIZER=address,undefined test-unit test-integration
	@$(MAKE) --no-print-directory -j2 SANITIZER=thread programs units
	@$(MAKE) --no-print-directory SANITIZER=thread test-unit test-integration
fuzz: deps-fuzz
	@$(MAKE) --no-print-directory -j2 CC=clang SANITIZER=fuzzer-no-link,address,undefined libfuzzers
	@tests/fuzz/run build-fuzzer-no-link-address-undefined-clang $(or $(SECONDS),60)
fuzz-short:
	@$(MAKE) --no-print-directory fuzz SECONDS=10
crash: deps-test
	@$(MAKE) --no-print-directory -j2 programs
	BUILD=$B $(PY) tests/crash/crash.py --rounds $(or $(ROUNDS),1000)
powercut: deps-test
	@$(MAKE) --no-print-directory -j2 $B/powercut
	$B/powercut --cuts $(or $(CUTS),100000) --seed $(or $(SEED),1)
alloc: deps-test
	@$(MAKE) --no-print-directory -j2 $(UNIT:$B/unit/%=$B/alloc/%)
	$(PY) tests/faults/alloc.py --each $(or $(EACH),0) $(UNIT:$B/unit/%=$B/alloc/%)
sim: deps-test
	@$(MAKE) --no-print-directory -j2 $B/sim
	$B/sim --seeds $(or $(SEEDS),1000) --jobs $(shell nproc)
sim-selftest: deps-test
	@$(MAKE) --no-print-directory -j2 $B/sim
	@tests/sim/selftest $B
coverage: deps-test
	@$(MAKE) --no-print-directory -j2 B=build-coverage OPT="-O0 -g" CFLAGS="--coverage -fprofile-update=atomic" LDFLAGS=--coverage programs units
	@find build-coverage -name '*.gcda' -delete
	-@$(MAKE) --no-print-directory B=build-coverage OPT="-O0 -g" CFLAGS="--coverage -fprofile-update=atomic" LDFLAGS=--coverage test-unit test-integration
	@$(PY) tests/coverage.py build-coverage
nightly: test-all
	@$(MAKE) --no-print-directory sim SEEDS=100000
	@$(MAKE) --no-print-directory sim-selftest powercut alloc crash fuzz coverage
lint: deps-lint
	@tests/lint.py
bench: deps-bench
	@$(MAKE) --no-print-directory -j2 programs $(BENCH_PROGRAMS)
	@[ -n "$(BENCH)" ] || $B/message_bench
	@$(PY) bench/run.py --build $B --json $B/bench.json --svg $B/bench.svg $(BENCH)
compare: deps-compare
	@$(MAKE) --no-print-directory -j2 programs $B/load
	@$(PY) bench/compare.py --build $B --json $B/compare.json $(COMPARE)
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
