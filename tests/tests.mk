# What tests the programs, and how; `make help` says which target is what. Included by Makefile.
.PHONY: units test-unit test-integration test-all tiny fuzz fuzz-short libfuzzers crash powercut alloc memory sim sim-selftest coverage nightly
UNIT := $(patsubst tests/unit/%.c,$B/unit/%,$(wildcard tests/unit/test_*.c))
UNIT_PARTS := $(filter-out tests/unit/test_%,$(wildcard tests/unit/*.c))
FUZZ := $(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
POWERCUT := $(wildcard tests/crash/*.c)
# tests/crash: what these calls do, LMDB's own among them, is recorded there.
WRAPPED := open close mkdir rename unlink ftruncate fallocate fsync fdatasync pwrite write writev mmap mdb_put store_operate log_info
SIM := $(wildcard tests/sim/*.c)
SIM_SEAMS := prng_seed getrlimit fallocate socket setsockopt bind close inbox_post look_wait secure_load trusts_destroy log_warn

CMOCKA = $(shell pkg-config --libs cmocka)

units: $(UNIT) $(if $(SANITIZER),,$(UNIT:$B/unit/%=$B/alloc/%)) $(FUZZ:%=$B/replay/%) $B/powercut $B/faults.so $B/memory.so $B/render $B/sim $(BENCH_PROGRAMS)

$B/render: $B/obj/tests/integration/render_main.o $B/libpostrider.a
	$(call link)
$B/libunit.a: $(call obj,$(UNIT_PARTS))
	@rm -f $@ && ar rcs $@ $^
$B/unit/%: $B/obj/tests/unit/%.o $B/libunit.a $B/libpostrider.a
	$(call link,,$(CMOCKA))
# The unit programs again, on an archive whose allocations are tests/faults/alloc.c's.
ALLOC := malloc=alloc_malloc calloc=alloc_calloc realloc=alloc_realloc aligned_alloc=alloc_aligned strdup=alloc_strdup exit=alloc_exit
$B/alloc/libpostrider.a: $B/libpostrider.a
	@mkdir -p $(@D) && objcopy $(ALLOC:%=--redefine-sym %) $< $@
$B/alloc/%: $B/obj/tests/unit/%.o $B/obj/tests/faults/alloc.o $B/libunit.a $B/alloc/libpostrider.a
	$(call link,,$(CMOCKA))
$B/faults.so: tests/faults/preload.c
$B/memory.so: tests/faults/memory.c
$B/faults.so $B/memory.so:
	@mkdir -p $(@D) && $(CC) -std=c17 -D_GNU_SOURCE $(WARN) -O2 -g -fno-optimize-sibling-calls -fPIC -shared -Wno-pedantic -o $@ $<
$B/powercut: $(call obj,$(POWERCUT)) $B/libpostrider.a
	$(call link,$(WRAPPED:%=-Wl$(comma)--wrap=%),-l:liblmdb.a $(CMOCKA))
$B/replay/%: $B/obj/tests/fuzz/fuzz_%.o $B/obj/tests/fuzz/replay.o $B/libpostrider.a
	$(call link)
$B/libfuzzer/%: $B/obj/tests/fuzz/fuzz_%.o $B/libpostrider.a
	@mkdir -p $(@D)
	@echo "  LINK  $@" && $(CC) $(subst fuzzer-no-link,fuzzer,$(LDFLAGS_ALL)) -o $@ $^ $(LIBS)
libfuzzers: $(FUZZ:%=$B/libfuzzer/%)
$B/sim: $(call obj,$(SIM)) $B/libpostrider.a
	$(call link,$(SIM_SEAMS:%=-Wl$(comma)--wrap=%))
$B/selftest/%: $B/selftest/%.c $(call obj,$(SIM)) $B/libpostrider.a
	@$(CC) $(CFLAGS_ALL) -w $(LDFLAGS_ALL) $(SIM_SEAMS:%=-Wl,--wrap=%) -o $@ $^ $(LIBS)

test-unit: units
	@failed=; for t in $(UNIT); do echo "== $$t"; TSAN_OPTIONS=halt_on_error=1 timeout 300 $$t || failed="$$failed $$t"; done; \
	for t in $(FUZZ); do timeout 300 $B/replay/$$t --changed 20000 tests/fuzz/corpus/$$t || failed="$$failed replay/$$t"; done; \
	for option in "--cuts $(or $(CUTS),$(if $(TINY),9000,3000))" --self-test; do timeout 300 $B/powercut $$option || failed="$$failed powercut"; done; \
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
tiny: deps-test
	@$(MAKE) --no-print-directory -j2 TINY=1 programs units
	@$(MAKE) --no-print-directory TINY=1 test-unit test-integration
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
memory: deps-test
	@$(MAKE) --no-print-directory -j2 programs $B/load $B/memory.so
	BUILD=$B $(PY) tests/resources/memory.py $(MEMORY)
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
	@$(MAKE) --no-print-directory sim-selftest powercut crash memory fuzz coverage tiny
	@$(MAKE) --no-print-directory alloc EACH=300
