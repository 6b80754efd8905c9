#!/usr/bin/python3
"""Measures Postrider on this machine: daemon, load and receivers share its cores.

Each scenario (bench/scenarios/*.yaml) runs several times from fresh state on a real disk, every commit synced, as
always. Receivers read every byte and its digests are compared with what was meant. The table gives the median and,
in brackets, lowest and highest."""
import argparse
import os
import shutil
import signal
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from suite import machine, report, scenario  # noqa: E402
from suite.measure import measure  # noqa: E402
from suite.processes import Trouble, raise_files  # noqa: E402
from suite.stores import Stores  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))


def arguments():
    parser = argparse.ArgumentParser(prog="bench/run.py", description=__doc__, epilog="Exit: 0 measured, 1 something "
                                     "could not be (or, with --strict, a goal was missed), 2 usage.")
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO[/CASE]", help="default: all")
    parser.add_argument("--list", action="store_true", help="say what there is, and end")
    parser.add_argument("--runs", type=int, default=3, metavar="N", help="of each scenario (3)")
    parser.add_argument("--json", metavar="FILE", help="write all figures of all runs")
    parser.add_argument("--svg", metavar="FILE", help="write a chart")
    parser.add_argument("--directory", default="/var/tmp", metavar="DIR", help="where state lives: a real disk (/var/tmp)")
    parser.add_argument("--keep", metavar="DIR", help="keep stores with a history there, on the same disk, for next time")
    parser.add_argument("--scale", type=float, default=1.0, metavar="F",
                        help="make all of it smaller, to try it out: 0.01; goals are not judged then")
    parser.add_argument("--recipients", type=int, default=0, metavar="N", help="no case has more; not judged either")
    parser.add_argument("--build", default=os.path.join(HERE, "..", "build"), metavar="DIR", help="programs (build)")
    parser.add_argument("--strict", action="store_true", help="exit 1 where a goal is missed")
    args = parser.parse_args()
    if args.runs < 1 or args.scale <= 0 or args.recipients < 0:
        parser.error("--runs wants 1 or more, --scale a number above 0")
    return args


def say(text):
    print(text, flush=True)


def run_scenario(chosen, args, work, stores, troubles):
    """Its results. Runs go round by round, so that the cases of a run are neighbours in time."""
    figures = {case.name: [] for case in chosen.cases}
    say(f"\n{chosen.title}" + (f"\n{report.wrap(chosen.shows)}" if chosen.shows else ""))
    for n in range(args.runs):
        seen = {}
        for case in chosen.cases:
            try:
                figures[case.name].append(measure(case, args.build, work, stores, seen))
            except Trouble as trouble:
                troubles.append((f"{case.label}, run {n + 1}", trouble))
                say(f"  FAILED {case.label}, run {n + 1}: {trouble}")
                return []
            say(f"  run {n + 1} of {case.label} done")
    results = [report.Result(case, figures[case.name]) for case in chosen.cases]
    for result in results:
        say(report.case_text(result))
    return results


def main():
    args = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))     # unwinds, which ends the children
    scale = scenario.Scale(args.scale, args.recipients)
    results, troubles = [], []
    try:
        scenarios = scenario.load_all(os.path.join(HERE, "scenarios"), args.scenarios, scale)
        if args.list:
            for each in scenarios:
                say(f"{each.name:18} {each.title}")
                for case in each.cases:
                    say(f"    {case.label}" if case.name else "    (one case)")
            return 0
        for directory in [args.directory] + [args.keep] * bool(args.keep):
            os.makedirs(directory, exist_ok=True)
            machine.refuse_memory(directory)
        raise_files()
        known = machine.facts(args.build, args.directory)
    except Trouble as trouble:
        print(f"bench: {trouble}", file=sys.stderr)
        return 1
    say(machine.text(known))
    say("daemon, load and receivers on this machine; " + ("" if scale.whole else f"at {scale.text()}; ") +
        f"{args.runs} runs: median [lowest, highest]")
    work = tempfile.mkdtemp(prefix="postrider-bench-", dir=args.directory)
    try:
        stores = Stores(args.build, args.keep, work, lambda text: say("  " + text))
        for each in scenarios:
            results += run_scenario(each, args, work, stores, troubles)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    say(report.summary_text(results, troubles, scale, args.runs))
    if args.json:
        report.write_json(args.json, known, results, troubles, scale, args.runs)
    if args.svg:
        from suite import chart     # the one that wants pygal
        chart.write_svg(args.svg, known, results, scale, args.runs)
    missed = any(verdict.reached is False for result in results for verdict in result.verdicts())
    return 1 if troubles or (args.strict and scale.whole and missed) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
