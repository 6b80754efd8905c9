#!/usr/bin/python3
"""Measures Postrider on this machine: daemon, load and receivers share its cores.

Each scenario (bench/scenarios/*.yaml) runs several times from fresh state on a real disk, every commit
synced, as always. Receivers read every byte, and digests are compared with what was meant. The table gives
the median and, in brackets, lowest and highest. bench/README.md says more."""
import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from suite import machine, report, scenario, space  # noqa: E402
from suite.measure import measure  # noqa: E402
from suite.processes import Trouble, raise_files  # noqa: E402
from suite.stores import Stores  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))


def arguments():
    parser = argparse.ArgumentParser(
        prog="bench/run.py", description=__doc__,
        epilog="Exit: 0 measured, 1 something could not be, or, with --strict, a goal was missed, 2 usage.")
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO[/CASE]", help="default: all")
    parser.add_argument("--list", action="store_true", help="say what there is, and end")
    parser.add_argument("--runs", type=int, default=3, metavar="N", help="of each scenario (3)")
    parser.add_argument("--json", metavar="FILE", help="write all figures of all runs")
    parser.add_argument("--svg", metavar="FILE", help="write a chart")
    parser.add_argument("--directory", default="/var/tmp", metavar="DIR",
                        help="where state lives: a real disk (/var/tmp)")
    parser.add_argument("--keep", metavar="DIR",
                        help="keep stores with a history there for next time, best on the same disk")
    parser.add_argument("--scale", type=float, default=1.0, metavar="F",
                        help="make all of it smaller, to try it out: 0.01; goals are not judged then")
    parser.add_argument("--recipients", type=int, default=0, metavar="N",
                        help="no case has more, nor a history; not judged either")
    parser.add_argument("--build", default=os.path.join(HERE, "..", "build"), metavar="DIR",
                        help="where the programs are (build)")
    parser.add_argument("--strict", action="store_true", help="exit 1 where a goal is missed")
    args = parser.parse_args()
    if args.runs < 1 or args.scale <= 0 or args.recipients < 0:
        parser.error("--runs wants 1 or more, --scale a number above 0")
    return args


def say(text):
    print(text, flush=True)


def run_scenario(chosen, args, work, stores, troubles):
    """Its results. Runs go round by round, so that the cases of a run are neighbours in time; a case that
    fails is not tried again, nor are those that refer to it."""
    figures = {case.name: [] for case in chosen.cases}
    say(f"\n{chosen.title}" + (f"\n{report.wrap(chosen.shows)}" if chosen.shows else ""))
    for n in range(args.runs):
        seen = {}
        for case in chosen.cases:
            if any(name not in figures for name in (case.name, *case.needs())):
                figures.pop(case.name, None)
                continue
            try:
                figures[case.name].append(measure(case, args.build, work, stores, seen))
                say(f"  {case.label}: run {n + 1} done")
            except (Trouble, OSError, subprocess.SubprocessError) as trouble:
                del figures[case.name]
                troubles.append((f"{case.label}, run {n + 1}", trouble))
                say(f"  FAILED {case.label}, run {n + 1}: {trouble}")
    results = [report.Result(case, figures[case.name]) for case in chosen.cases if case.name in figures]
    for result in results:
        say(report.case_text(result))
    return results


def show_list(scenarios):
    for each in scenarios:
        say(f"{each.name:16} {each.title}")
        for case in each.cases:
            if case.name:
                say(f"    {case.label}")


def prepare(args, scale):
    """Scenarios and the machine's facts, once it is clear that there is something to measure."""
    scenarios = scenario.load_all(os.path.join(HERE, "scenarios"), args.scenarios, scale)
    if args.list:
        return scenarios, None
    for directory in [args.directory] + [args.keep] * bool(args.keep):
        os.makedirs(directory, exist_ok=True)
        machine.refuse_memory(directory)
    raise_files()
    space.enter(sys.argv)
    space.prepare()
    return scenarios, machine.facts(args.build, args.directory)


def main():
    args = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))     # unwinds, which ends the children
    scale = scenario.Scale(args.scale, args.recipients)
    try:
        scenarios, facts = prepare(args, scale)
    except Trouble as trouble:
        print(f"bench: {trouble}", file=sys.stderr)
        return 2
    if args.list:
        show_list(scenarios)
        return 0
    say(machine.text(facts))
    say("daemon, load and receivers on this machine; "
        + ("" if scale.whole else f"a trial with {scale.text()}; ")
        + (f"{args.runs} runs: median [lowest, highest]" if args.runs > 1 else "one run"))
    results, troubles = [], []
    work = tempfile.mkdtemp(prefix="postrider-bench-", dir=args.directory)
    try:
        stores = Stores(args.build, args.keep, work, lambda text: say("  " + text))
        for each in scenarios:
            results += run_scenario(each, args, work, stores, troubles)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    if results:
        say(report.overview_text(results))
    say(report.summary_text(results, troubles, scale, args.runs))
    if args.json:
        report.write_json(args.json, facts, results, troubles, scale, args.runs)
    if args.svg:
        from suite import chart     # the one that wants pygal
        chart.write_svg(args.svg, facts, results, scale, args.runs)
    missed = any(verdict.reached is False for result in results for verdict in result.verdicts())
    return 1 if troubles or (args.strict and scale.whole and missed) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
