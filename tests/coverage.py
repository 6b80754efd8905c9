#!/usr/bin/python3
"""How many of the lines of each part were run by the tests of a build with --coverage.

usage: tests/coverage.py BUILD [--under PERCENT]    (make coverage)

Adds up what gcov says of each object file, whichever program it was part of: unit programs, simulator, power
cuts, daemons. What a daemon did that was killed is not counted. With --under, lists the files below it of the
parts that are held to the goal, and the functions that were never run.
"""
import argparse
import collections
import glob
import json
import os
import subprocess
import sys

HELD = ("queue", "engine/smtp", "engine/route", "engine/report")  # to the goal
GOAL = 90


def read(build):
    """Of each source file: its lines with how often they were run, and its functions likewise."""
    lines = collections.defaultdict(lambda: collections.defaultdict(int))
    functions = collections.defaultdict(lambda: collections.defaultdict(int))
    notes = [n for part in ("queue", "engine")
             for n in glob.glob(f"{build}/obj/{part}/**/*.gcno", recursive=True)]
    for at in range(0, len(notes), 50):
        run = subprocess.run(["gcov", "--json-format", "--stdout", *notes[at:at + 50]], capture_output=True,
                             text=True)
        for text in run.stdout.splitlines():
            for file in json.loads(text)["files"] if text.startswith("{") else []:
                name = os.path.relpath(file["file"])
                for line in file["lines"]:
                    lines[name][line["line_number"]] += line["count"]
                for function in file["functions"]:
                    functions[name][function["name"]] += function["execution_count"]
    return lines, functions


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("build")
    parser.add_argument("--under", type=int, default=0)
    options = parser.parse_args()
    lines, functions = read(options.build)
    parts = collections.defaultdict(lambda: [0, 0])
    for name, counts in lines.items():
        part = os.path.dirname(name)
        if not name.startswith(("queue/", "engine/")):
            continue
        run, all_of_it = sum(1 for n in counts.values() if n), len(counts)
        parts[part][0] += run
        parts[part][1] += all_of_it
        if options.under and part in HELD and 100 * run < options.under * all_of_it:
            never = [f for f, n in functions[name].items() if not n]
            print(f"{name}: {run} of {all_of_it}, {100 * run // all_of_it}%  {' '.join(never)}")
    bad = 0
    for part, (run, all_of_it) in sorted(parts.items()):
        low = part in HELD and 100 * run < GOAL * all_of_it
        bad += low
        note = "  below the goal" if low else ""
        print(f"{part:18} {run:6} of {all_of_it:6} lines  {100 * run / all_of_it:5.1f}%{note}")
    return 1 if bad or not parts else 0


if __name__ == "__main__":
    sys.exit(main())
