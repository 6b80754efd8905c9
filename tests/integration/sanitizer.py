"""What differs when the programs under test were built with a sanitizer (make SANITIZER=…, BUILD=build-…):
its reports are failures, and everything takes longer. So it does with the small limits of TINY=1."""
import os
import re

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.join(ROOT, os.environ.get("BUILD", "build"))
TINY = os.path.basename(BUILD).startswith("build-tiny")
# "", "address-undefined" or "thread"
KIND = re.sub(r"^build(-tiny)?-?", "", os.path.basename(BUILD).removesuffix("-clang"))
# How many times longer a test waits before it gives up; also for a busy machine.
PATIENCE = float(os.environ.get("TEST_PATIENCE", (5 if TINY else 1) * {"": 1, "thread": 10}.get(KIND, 5)))
REPORT = re.compile(r"^.*(?:AddressSanitizer|LeakSanitizer|ThreadSanitizer|runtime error:).*", re.M)

# An exit code that no test expects, so that a report fails those too that only look at the code.
os.environ.setdefault("ASAN_OPTIONS", "exitcode=99:detect_stack_use_after_return=1")
os.environ.setdefault("UBSAN_OPTIONS", "exitcode=99:print_stacktrace=1")
os.environ.setdefault("TSAN_OPTIONS", "exitcode=99:second_deadlock_stack=1")


def limit(name):
    """The value of a bound of engine/limits.h in that build."""
    with open(os.path.join(ROOT, "engine", "limits.h"), encoding="utf-8") as f:
        value = re.search(rf"#define {name}\s+(?:\\\s+)?(BOUND|FIXED)\((.*?)\)(?:\s*/\*|$)", f.read(), re.M)
    shipped, _, tiny = value[2].partition(",")
    number = tiny if TINY and value[1] == "BOUND" else shipped
    return eval(number, {"UINT64_C": int})  # or a product or a shift of some


def check(text, whose):
    """Fails when the text, a program's stderr, holds a report."""
    found = REPORT.search(text)
    assert not found, f"{whose}: {found.group(0)}\n{text[max(0, found.start() - 200):found.start() + 12000]}"
