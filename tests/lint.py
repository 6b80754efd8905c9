#!/usr/bin/python3
"""Style as a test: include direction, foreign headers in their rooms, banned calls, lengths, opening
comments, headers that compile alone, functions that nobody calls, formatting, clang-tidy and cppcheck.
usage: tests/lint.py [FILE…]  (default: every file git knows)"""
import collections
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
    "engine/rules": {"engine/base", "queue"},
    "engine/dkim": {"engine", "engine/base", "engine/tls", "engine/message"},
    "engine/tlsrpt": {"engine/base", "engine/io", "engine/dns", "engine/tls", "engine/message", "queue"},
    "engine/sts": {"engine/base", "engine/tls", "engine/tlsrpt", "queue"},
    "engine/smtp": {"engine/base", "engine/io", "engine/tls", "engine/message", "engine/rules", "queue"},
    "engine/route": {"engine", "engine/base", "engine/io", "engine/tls", "engine/dns", "engine/message",
                     "engine/dkim", "engine/rules", "engine/smtp", "engine/sts", "engine/tlsrpt", "queue"},
    "engine/report": {"engine", "engine/base", "engine/tls", "engine/message", "engine/rules", "queue"},
    "engine/intake": {"engine", "engine/base", "engine/tls", "engine/message", "engine/dkim", "queue"},
    "engine/submission": {"engine", "engine/base", "engine/io", "engine/tls", "engine/message", "engine/dkim",
                          "engine/intake", "engine/inbound", "queue"},
    "engine/inbound": {"engine/base", "engine/message", "engine/smtp", "engine/report", "queue"},
    "engine/admin": {"engine", "engine/base", "engine/io", "engine/tls", "engine/message", "engine/dkim",
                     "engine/rules", "engine/intake", "engine/submission", "engine/inbound", "engine/report",
                     "queue"},
}
# Where "engine" alone is allowed, only these of it.
ENGINE_TOP = {"engine/route": {"engine/config.h", "engine/setup.h"}, "engine/report": {"engine/config.h"},
              "engine/dkim": {"engine/config.h"}, "engine/intake": {"engine/config.h"},
              "engine/submission": {"engine/config.h", "engine/setup.h"},
              "engine/admin": {"engine/config.h", "engine/inspect.h", "engine/reload.h", "engine/rule_json.h",
                               "engine/setup.h", "engine/steer.h"}}
ROOMS = {
    "liburing.h": r"engine/io/|bench/raw/ring\.c|tests/sim/ring\.c",
    "ares.h": r"engine/dns/", "lmdb.h": r"queue/", "microhttpd.h": r"engine/admin/http",
    "libfyaml.h": r"engine/config|bench/world/", "openssl/": r"engine/tls/|engine/dkim/key\.c|bench/|tests/unit/",
    "xxhash.h": r"engine/base/|bench/", "curl/": r"tools/|tests/unit/|engine/report/webhook\.c|engine/sts/fetch\.c|engine/tlsrpt/post\.c",
    "zlib.h": r"engine/report/webhook\.c|engine/tlsrpt/report\.c|tests/unit/", "idn2.h": r"engine/message/",
    "libpsl.h": r"engine/dns/", "pcre2.h": r"engine/rules/",
    "seccomp.h": r"engine/confine\.c", "libxml/": r"engine/message/html_text\.c", "crypt.h": r"engine/submission/users\.c|tests/unit/",
}
BANNED = {
    r"\b(strcpy|strcat|sprintf|vsprintf|gets|strtok|alloca|rand|srand|random|atoi|atol|strncpy|strncat)\s*\(":
        "unsafe or banned",
    r"(?<![\w.>])(time|gettimeofday|clock_gettime|ftime)\s*\(": "time is passed in as struct now",
    r"\bTODO\b|\bFIXME\b|\bXXX\b": "finish it instead",
}
SEAMS = re.compile(r"engine/base/(clock|prng)\.c|bench/|tests/|tools/")
COLUMNS, FUNCTION_LINES, FILE_LINES = 110, 80, 650
WARN = "-std=c17 -D_GNU_SOURCE -I. -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wstrict-prototypes".split()
# Contracts: what stands there is for those who will come, too.
CONTRACTS = {"queue/store.h", "queue/query.h", "queue/edit.h"}


def sh(command, **kw):
    return subprocess.run(command, capture_output=True, text=True, **kw)


def read(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


def place(path):
    return os.path.dirname(path)


def without_comments(text):
    """The code alone: comments and strings become blanks, lines stay where they are."""
    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"', lambda m: re.sub(r"[^\n]", " ", m.group(0)),
                  text, flags=re.S)


def check_include(path, number, kind, name):
    here = place(path)
    if kind == '"':
        there = place(name)
        if not os.path.exists(name):
            yield f"{path}:{number}: include {name}: no such file; give the path from the root"
        elif here in BELOW and there != here and name != "engine/limits.h":
            top = ENGINE_TOP.get(here, set())
            if there not in BELOW[here] or (there == "engine" and name not in top):
                yield f"{path}:{number}: {here} may not include {name}: includes point downwards only"
    for header, room in ROOMS.items():
        if name.startswith(header) and not re.match(room, path):
            yield f"{path}:{number}: {name} stays in its own room ({room})"


def check_text(path):
    text = read(path)
    code = without_comments(text)
    for number, line in enumerate(text.split("\n"), 1):
        include = re.match(r'\s*#\s*include\s*([<"])([^>"]+)[>"]', line)
        if include:
            yield from check_include(path, number, *include.groups())
    for pattern, why in BANNED.items():
        if why.startswith("time") and SEAMS.match(path):
            continue
        source = text if why.startswith("finish") else code
        for hit in re.finditer(pattern, source):
            number = source.count("\n", 0, hit.start()) + 1
            yield f"{path}:{number}: {hit.group(0).strip('( ')}: {why}"


def check_shape(path):
    """Lengths, and that a file opens with what it is for."""
    text = read(path)
    lines = text.split("\n")
    opening = "/* " if path.startswith("tests/unit/") else f"/* {os.path.basename(path)} - "
    if not text.startswith(opening):
        yield f"{path}:1: opens with {opening}what it is for */"
    by_hand = False
    for number, line in enumerate(lines, 1):
        by_hand = "clang-format off" in line or by_hand and "clang-format on" not in line
        if len(line) > COLUMNS and not by_hand:
            yield f"{path}:{number}: {len(line)} columns; at most {COLUMNS}"
    if path.startswith("tests/"):
        return
    if len(lines) - 1 > FILE_LINES:
        yield f"{path}: {len(lines) - 1} lines; at most {FILE_LINES}: split it by meaning"
    opened = 0
    for number, line in enumerate(lines, 1):
        if line == "{":
            opened = number
        elif line == "}" and opened:
            if number - opened + 1 > FUNCTION_LINES:
                yield f"{path}:{opened}: a function of {number - opened + 1} lines; at most {FUNCTION_LINES}"
            opened = 0


def check_python(path):
    """Long lines; a line that is one long string is data."""
    for number, line in enumerate(read(path).split("\n"), 1):
        if len(line) > COLUMNS and not re.fullmatch(r"""\s*[rbf]*(["'])(?!\1).*\1[,)\]}]*""", line):
            yield f"{path}:{number}: {len(line)} columns; at most {COLUMNS}"


def check_limits():
    """A bound says what it is in the tiny build, too, or that it is the same there; times are bare."""
    path = "engine/limits.h"
    for number, line in enumerate(read(path).replace("\\\n", "").split("\n"), 1):
        bound = re.match(r"#define ([A-Z][A-Z0-9_]+) +(.*)", line)
        if bound is None or bound[1] == "POSTRIDER_LIMITS_H" or re.search(r"_[MN]?S(_MAX|_MIN)?$", bound[1]):
            continue
        if not re.match(r"(BOUND|FIXED)\(|[A-Z][A-Z0-9_]+($| )", bound[2]):
            yield f"{path}:{number}: {bound[1]}: BOUND(as shipped, tiny) or FIXED(value)"


def check_callers():
    """What a header declares is used by somebody besides the file that defines it."""
    files = sh(["git", "ls-files", "*.c", "*.h"]).stdout.split()
    users = collections.defaultdict(set)
    code = {path: without_comments(read(path)) for path in files}
    for path in files:
        for word in set(re.findall(r"\b[A-Za-z]\w*\b", code[path])):
            users[word].add(path)
    for path in files:
        if not path.endswith(".h") or path in CONTRACTS:
            continue
        for name in re.findall(r"^(?!typedef\b)[a-z][\w ]*[ *]+(\w+)\([^;{]*\);", code[path], flags=re.M):
            within = len(re.findall(rf"\b{name}\b", code[path])) > 1
            if len(users[name] - {path}) < 2 and not within:
                yield f"{path}: {name}: nobody calls it from outside"


def check_header(path):
    run = sh(["gcc", *WARN, "-Werror", "-fsyntax-only", "-x", "c", "-"],
             input=f'#include "{path}"\ntypedef int not_empty;\n')
    return [f"{path}: does not compile alone:\n{run.stderr}"] if run.returncode else []


def check_format(paths):
    run = sh(["clang-format", "--dry-run", "-Werror", *paths])
    return [run.stderr] if run.returncode else []


def check_tidy(path):
    # The analyzer gives a function up after so many nodes. At its default of 225,000 this takes more than
    # twice as long (bench/world/zone.c: 8.2 s, and 3.5 s like this) and found nothing more in the whole tree.
    budget = ["-Xclang", "-analyzer-config", "-Xclang", "max-nodes=100000"]
    cmocka = ["-include", "tests/lint_cmocka.h"] if path.startswith(("tests/unit/", "tests/crash/")) else []
    run = sh(["clang-tidy", "--quiet", path, "--", "-std=c17", "-D_GNU_SOURCE", "-I.",
              '-DPOSTRIDER_VERSION="lint"', "-isystem", "/usr/include/libxml2", *budget, *cmocka])
    lines = run.stdout.replace(os.getcwd() + "/", "").split("\n")
    return [line for line in lines if ": warning:" in line or ": error:" in line]


def check_cppcheck(paths):
    run = sh(["cppcheck", "--quiet", "--std=c11", "--enable=warning,portability,performance",
              "--inline-suppr", "-I.", "--suppress=missingIncludeSystem", "--suppress=unknownMacro",
              "--suppress=preprocessorErrorDirective",
              # Wrong about uthash's and queue.h's loops, and about mmap's descriptor; gcc and clang look at
              # these too.
              "--suppress=uninitvar", "--suppress=invalidFunctionArg", "--template=gcc",
              "--library=posix", "--max-configs=1", "-D__GNUC__", f"-j{os.cpu_count()}", *paths])
    kinds = re.compile(r": (error|warning|portability|performance):")
    return [line for line in run.stderr.split("\n") if kinds.search(line)]


def main():
    files = sys.argv[1:] or sh(["git", "ls-files", "*.c", "*.h", "*.py"]).stdout.split()
    sources = [f for f in files if f.endswith(".c")]
    headers = [f for f in files if f.endswith(".h")]
    problems = []
    for path in sources + headers:
        problems += check_text(path)
        problems += check_shape(path)
    for path in files:
        if path.endswith(".py"):
            problems += check_python(path)
    problems += check_limits()
    problems += check_callers()
    problems += check_format(sources + headers)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for found in pool.map(check_header, headers):
            problems += found
        for found in pool.map(check_tidy, sorted(sources, key=os.path.getsize, reverse=True)):
            problems += found
    problems += check_cppcheck(sources)
    problems = sorted(set(problems))
    for problem in problems:
        print(problem)
    print(f"lint: {len(files)} files, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
