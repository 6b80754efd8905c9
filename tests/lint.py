#!/usr/bin/python3
"""Style as a test: include direction, foreign headers in their rooms, banned calls, headers that compile alone,
formatting, clang-tidy and cppcheck. usage: tests/lint.py [FILE…]  (default: every file git knows)"""
import concurrent.futures
import os
import re
import subprocess
import sys

# What a directory may include of ours, besides itself. Includes point downwards only.
BELOW = {
    "engine/base": set(),
    "queue": {"engine/base"},
    "engine/io": {"engine/base"},
    "engine/message": {"engine/base"},
    "engine/tls": {"engine/base"},
    "engine/dns": {"engine/base", "engine/io"},
    "engine/smtp": {"engine/base", "engine/io", "engine/tls", "queue"},
    "engine/route": {"engine", "engine/base", "engine/io", "engine/tls", "engine/dns", "engine/message",
                     "engine/smtp", "queue"},
    "engine/report": {"engine", "engine/base", "engine/tls", "engine/message", "queue"},
    "engine/intake": {"engine", "engine/base", "engine/tls", "engine/message", "queue"},
    "engine/admin": {"engine", "engine/base", "engine/tls", "engine/message", "engine/intake", "engine/report",
                     "queue"},
}
# Where "engine" alone is allowed, only these of it.
ENGINE_TOP = {"engine/route": {"engine/config.h"}, "engine/report": {"engine/config.h"},
              "engine/intake": {"engine/config.h"}, "engine/admin": {"engine/config.h", "engine/inspect.h"}}
ROOMS = {
    "liburing.h": r"engine/io/", "ares.h": r"engine/dns/", "lmdb.h": r"queue/", "microhttpd.h": r"engine/admin/http",
    "libfyaml.h": r"engine/config|bench/world/", "openssl/": r"engine/tls/|bench/|tests/unit/", "xxhash.h": r"engine/base/|bench/",
    "curl/": r"tools/|tests/unit/", "idn2.h": r"engine/message/", "libpsl.h": r"engine/dns/",
}
BANNED = {
    r"\b(strcpy|strcat|sprintf|vsprintf|gets|strtok|alloca|rand|srand|random|atoi|atol|strncpy|strncat)\s*\(": "unsafe or banned",
    r"(?<![\w.>])(time|gettimeofday|clock_gettime|ftime)\s*\(": "time is passed in as struct now",
    r"\bTODO\b|\bFIXME\b|\bXXX\b": "finish it instead",
}
SEAMS = re.compile(r"engine/base/(clock|prng)\.c|bench/|tests/|tools/")
WARN = "-std=c17 -D_GNU_SOURCE -I. -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wstrict-prototypes".split()


def sh(command):
    return subprocess.run(command, capture_output=True, text=True)


def place(path):
    return os.path.dirname(path)


def check_text(path):
    problems = []
    here = place(path)
    text = open(path, encoding="utf-8").read()
    code = re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"', lambda m: re.sub(r"[^\n]", " ", m.group(0)), text, flags=re.S)
    for number, line in enumerate(text.split("\n"), 1):
        include = re.match(r'\s*#\s*include\s*([<"])([^>"]+)[>"]', line)
        if not include:
            continue
        kind, name = include.groups()
        if kind == '"':
            there = place(name)
            if not os.path.exists(name):
                problems.append(f"{path}:{number}: include {name}: no such file; give the path from the root")
            elif here in BELOW and there != here and name != "engine/limits.h":
                top = ENGINE_TOP.get(here, set())
                if there not in BELOW[here] or (there == "engine" and name not in top):
                    problems.append(f"{path}:{number}: {here} may not include {name}: includes point downwards only")
        for header, room in ROOMS.items():
            if name.startswith(header) and not re.match(room, path):
                problems.append(f"{path}:{number}: {name} stays in its own room ({room})")
    for pattern, why in BANNED.items():
        if why.startswith("time") and SEAMS.match(path):
            continue
        source = text if why.startswith("finish") else code
        for hit in re.finditer(pattern, source):
            if "clock_now" in hit.group(0):
                continue
            number = source.count("\n", 0, hit.start()) + 1
            problems.append(f"{path}:{number}: {hit.group(0).strip('( ')}: {why}")
    return problems


def check_header(path):
    run = subprocess.run(["gcc", *WARN, "-Werror", "-fsyntax-only", "-x", "c", "-"], capture_output=True, text=True,
                         input=f'#include "{path}"\ntypedef int not_empty;\n')
    return [f"{path}: does not compile alone:\n{run.stderr}"] if run.returncode else []


def check_format(paths):
    run = sh(["clang-format", "--dry-run", "-Werror", *paths])
    return [run.stderr] if run.returncode else []


def check_tidy(path):
    run = sh(["clang-tidy", "--quiet", path, "--", "-std=c17", "-D_GNU_SOURCE", "-I.", '-DPOSTRIDER_VERSION="lint"'])
    found = [line for line in run.stdout.split("\n") if ": warning:" in line or ": error:" in line]
    return found


def check_cppcheck(paths):
    run = sh(["cppcheck", "--quiet", "--std=c11", "--enable=warning,portability,performance", "--inline-suppr", "-I.",
              "--suppress=missingIncludeSystem", "--suppress=unknownMacro", "--suppress=preprocessorErrorDirective",
              # wrong about uthash's and queue.h's loops, and about mmap's descriptor; gcc and clang look at these too
              "--suppress=uninitvar", "--suppress=invalidFunctionArg",
              "--library=posix", "--max-configs=1", "-D__GNUC__", "-j2", "--error-exitcode=1", *paths])
    return [run.stderr] if run.returncode else []


def main():
    files = sys.argv[1:] or sh(["git", "ls-files", "*.c", "*.h"]).stdout.split()
    sources = [f for f in files if f.endswith(".c")]
    headers = [f for f in files if f.endswith(".h")]
    problems = []
    for path in files:
        problems += check_text(path)
    problems += check_format(files)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for found in pool.map(check_header, headers):
            problems += found
        for found in pool.map(check_tidy, sources):
            problems += found
    problems += check_cppcheck(sources)
    for problem in sorted(set(problems)):
        print(problem)
    print(f"lint: {len(files)} files, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
