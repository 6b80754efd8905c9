# The Internet that demo, tests and benches send to, the loads, and what measures. Included by Makefile.
.PHONY: bench compare
WORLD := $(wildcard bench/world/*.c)
LOAD := $(wildcard bench/load/*.c)
LOAD_PARTS := $(filter-out bench/load/main.c bench/load/verb_%,$(LOAD))
RAW := $(wildcard bench/raw/*.c)
BENCH_PROGRAMS := $B/load $B/raw

$B/world: $(call obj,$(WORLD)) $B/libpostrider.a
	$(call link)
$B/libload.a: $(call obj,$(LOAD_PARTS))
	@rm -f $@ && ar rcs $@ $^
$B/load: $(call obj,$(filter-out $(LOAD_PARTS),$(LOAD))) $B/libload.a $B/libpostrider.a
	$(call link)
$B/raw: $(call obj,$(RAW)) $B/libload.a $B/libpostrider.a
	$(call link)
$B/store_bench: $(call obj,bench/store_bench.c) $B/libpostrider.a
	$(call link)
$B/message_bench: $(call obj,bench/message_bench.c) $B/libpostrider.a
	$(call link)

bench: deps-bench
	@$(MAKE) --no-print-directory -j2 programs $(BENCH_PROGRAMS)
	@$(PY) bench/run.py --build $B --json $B/bench.json --svg $B/bench.svg $(BENCH)
compare: deps-compare
	@$(MAKE) --no-print-directory -j2 programs $B/load
	@$(PY) bench/compare.py --build $B --json $B/compare.json $(COMPARE)
