#!/usr/bin/python3
"""Fails allocations of the engine and the queue, one in each run of a unit program, and looks how that ends.

usage: tests/faults/alloc.py [--each N] PROGRAM…    (make alloc)

Each program is run once to count its allocations, then again for each of them, or for N of them, evenly
spread. A test may then fail, for it does not get what it asks for; the program may end with the sentence that
says there is no memory. What it may not do is crash, end without a word, or hang. A program whose runs take
too long is given fewer of them. What a run leaves behind, processes and files of up to 1 GB, goes with it.
"""
import argparse
import concurrent.futures
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time

COUNT_S = 300  # of a run in which nothing fails
HANG_S = 100  # more than the longest limit that a test sets itself, 60 s; or three times that run
PROGRAM_S = 10  # of all runs of one program, unless all are asked for
SAID = re.compile(r"no memory|out of memory|Cannot allocate memory", re.I)


running, stopped = set(), threading.Event()


def end(process):
    """With all that it has forked."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def stop(number, frame):
    stopped.set()
    for process in list(running):
        end(process)
    sys.exit(128 + number)


def run(program, fails=0, limit_s=COUNT_S):
    """Its end (None: it hangs), what it said, and how long it took; in a directory of its own."""
    above, begun = os.environ.get("POSTRIDER_TEST_TMP", "/var/tmp"), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="alloc-", dir=above, ignore_cleanup_errors=True) as directory:
        env = {**os.environ, "POSTRIDER_ALLOC_FAILS": str(fails), "POSTRIDER_TEST_TMP": directory}
        process = subprocess.Popen([program], env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, start_new_session=True)
        running.add(process)
        if stopped.is_set():
            end(process)
        try:
            text, code = process.communicate(timeout=limit_s)[0], process.returncode
        except subprocess.TimeoutExpired:
            end(process)
            text, code = process.communicate()[0], None
        finally:
            running.discard(process)
            end(process)
    return code, text.decode("utf-8", "replace"), time.monotonic() - begun


def lines_of(program, offsets):
    """Function and line of each address, of those that lie in the program's own files."""
    done = subprocess.run(["addr2line", "-fpe", program, *offsets], capture_output=True, text=True)
    return [line for line in re.sub(r"\S*?/((?:engine|queue|tests)/)", r"\1", done.stdout).splitlines()
            if re.search(r" at (engine|queue|tests)/", line)]


def where(program, text):
    found = re.search(r"alloc: the call from (0x[0-9a-f]+) fails", text)
    return "".join(lines_of(program, [hex(int(found.group(1), 16) - 1)])) if found else None


def verdict(program, code, text):
    """What is wrong with how it ended, or None."""
    if code is None:
        return "hangs"
    frames = re.findall(r"alloc: frame (0x[0-9a-f]+)", text)
    if frames:  # a test that uses what it was not given, or hands it on, crashes by itself
        stack = [line for line in lines_of(program, frames) if "tests/faults/" not in line]
        by_test = any(" at tests/" in line for line in stack[:2])
        return f"crashes in {stack[0]}" if stack and not by_test else None
    if code < 0 and not (code == -6 and SAID.search(text)):
        return f"dies of signal {-code}"
    return None


def numbers(calls, each):
    if not each or calls <= each:
        return range(1, calls + 1)
    return sorted({1 + (2 * i + 1) * calls // (2 * each) for i in range(each)})


def check(program, each):
    """Returns how many allocations there are, how many were failed, and what was wrong."""
    code, text, seconds = run(program)
    calls = int(re.findall(r"alloc: (\d+) calls", text)[-1]) if code == 0 else 0
    if code != 0:
        return 0, 0, [f"{program}: fails without a failed allocation:\n{text[-2000:]}"]
    if each and seconds * each > PROGRAM_S:
        each = max(1, int(PROGRAM_S / seconds))
    problems, failed = {}, 0
    for n in numbers(calls, each):
        if stopped.is_set():
            break
        code, text, _ = run(program, n, max(HANG_S, 3 * seconds))
        at = where(program, text)
        failed += at is not None
        wrong = verdict(program, code, text)
        if wrong and at is not None:
            problems.setdefault((wrong, at), f"{program}: {wrong} when allocation {n} fails, in {at}")
    return calls, failed, list(problems.values())


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--each", type=int, default=0, help="default: all of them")
    parser.add_argument("programs", nargs="+")
    options = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    bad, calls, failed = 0, 0, 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for one in pool.map(lambda program: check(program, options.each), options.programs):
            calls, failed, bad = calls + one[0], failed + one[1], bad + len(one[2])
            for problem in one[2]:
                print(f"alloc: {problem}", flush=True)
    print(f"alloc: {len(options.programs)} programs, {calls} allocations, {failed} of them failed, "
          f"{bad} problems")
    return 1 if bad or not failed else 0


if __name__ == "__main__":
    sys.exit(main())
