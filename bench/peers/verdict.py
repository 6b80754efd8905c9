"""What a comparison found: a table with Postrider's ratio to each peer, the settings, JSON, the goal."""
import json

from suite.report import Spread, table

from . import ENGINES
from .adapter import HERE

GOAL = {"peer": "postfix", "at_least": 30}      # transactional, end to end
MESSAGES, SECONDS = 20000, 10                   # what a run must have had to be judged by

# figure: its heading, how it is written
COLUMNS = {
    "delivered_a_second": ("delivered a second, end to end", "{:,.0f}"),
    "accepted_a_second": ("accepted a second", "{:,.0f}"),
    "latency_p50_ms": ("accepted to delivered, median, ms", "{:,.1f}"),
    "latency_p99_ms": ("accepted to delivered, 99th percentile, ms", "{:,.1f}"),
    "engine_ms_each": ("CPU of the engine a message, ms", "{:,.3f}"),
    "engine_cpu_s": ("CPU of the engine, s", "{:,.2f}"),
    "load_cpu_s": ("CPU of the load, s", "{:,.2f}"),
    "world_cpu_s": ("CPU of the receivers, s", "{:,.2f}"),
    "memory_mib": ("memory of the engine (own pages, shared ones once), peak, MiB", "{:,.0f}"),
    "processes": ("its processes at once, peak", "{:,.0f}"),
    "connections": ("connections it made", "{:,.0f}"),
    "messages": ("messages", "{:,.0f}"),
    "seconds": ("seconds from the first byte injected to the last delivery", "{:,.1f}"),
}


class Outcome:
    """figures: {engine class: [figures of each run]}; failed and skipped: {name: why}."""

    def __init__(self, figures, failed, skipped, args):
        self.failed, self.skipped, self.args = failed, skipped, args
        self.runs = {kind.name: runs for kind, runs in figures.items()}
        self.spreads = {name: {figure: Spread([run[figure] for run in runs]) for figure in COLUMNS}
                        for name, runs in self.runs.items()}

    def ratio(self, peer, figure="delivered_a_second"):
        """Postrider's median by the peer's."""
        if "postrider" not in self.spreads or peer not in self.spreads:
            return None
        theirs = self.spreads[peer][figure].median
        return self.spreads["postrider"][figure].median / theirs if theirs else None

    @property
    def judged(self):
        return self.args.messages >= MESSAGES and self.args.seconds >= SECONDS

    @property
    def reached(self):
        """None where it was not measured, or not at the size that counts."""
        ratio = self.ratio(GOAL["peer"])
        return None if ratio is None or not self.judged else ratio >= GOAL["at_least"]

    def text(self):
        parts = self.figures_text(), self.settings_text(), self.goal_text()
        return "\n".join(part for part in parts if part)

    def figures_text(self):
        if not self.spreads:
            return ""
        rows = [["", *self.spreads]]
        rows += [[heading, *(form.format(spreads[figure].median) for spreads in self.spreads.values())]
                 for figure, (heading, form) in COLUMNS.items()]
        rows.insert(2, ["Postrider delivers, times as many", *(self.times(name) for name in self.spreads)])
        widths = [max(len(row[i]) for row in rows) for i in range(1, len(rows[0]))]
        rows = [[row[0]] + [cell.rjust(width) for cell, width in zip(row[1:], widths)] + [""] for row in rows]
        parts = ["\nFrom end to end (medians)", table(rows), ""]
        for name, spreads in self.spreads.items():
            parts.append(f"  {name}: {self.runs[name][0]['version']}; delivered a second "
                         f"{spreads['delivered_a_second'].text('{:,.0f}')}")
            parts.append(f"      when it acknowledges: {ENGINES[name].DURABILITY}")
            if any(run["violations"] for run in self.runs[name]):
                parts.append("      the receivers saw it violate SMTP")
        return "\n".join(parts)

    def times(self, name):
        ratio = self.ratio(name)
        return "-" if name == "postrider" or ratio is None else f"{ratio:,.1f}"

    def settings_text(self):
        parts = []
        for name in self.runs:
            parts.append(f"\n{name}: changed from the default, why, and which page of its manual says so")
            parts += [f"  {setting.line.strip()}\n      {setting.reason} ({setting.page})"
                      for setting in ENGINES[name].SETTINGS if setting.reason != HERE]
        return "\n".join(parts)

    def goal_text(self):
        lines = [f"  FAILED  {name}: {why}" for name, why in self.failed.items()]
        ratio = self.ratio(GOAL["peer"])
        if ratio is not None:
            word = {None: "not judged (a small run)", True: "reached", False: "MISSED"}[self.reached]
            lines.append(f"  {word}: {ratio:,.1f} times {GOAL['peer']}, wanted: {GOAL['at_least']}")
        return "\n" + "\n".join(lines) if lines else ""

    def write(self, path, machine):
        engines = {}
        for name, runs in self.runs.items():
            kind = ENGINES[name]
            engines[name] = {
                "version": runs[0]["version"], "durability": kind.DURABILITY,
                "postrider_times": self.ratio(name), "postrider_cpu_times": self.ratio(name, "engine_ms_each"),
                "violations": [run["violations"] for run in runs],
                "settings": [setting._asdict() for setting in kind.SETTINGS],
                "figures": {figure: spread.json() for figure, spread in self.spreads[name].items()}}
        whole = {"machine": machine, "runs": self.args.runs, "message_bytes": self.args.size,
                 "connections": self.args.connections, "engines": engines, "skipped": self.skipped,
                 "failed": self.failed,
                 "goal": {**GOAL, "ratio": self.ratio(GOAL["peer"]), "reached": self.reached}}
        with open(path, "w", encoding="utf-8") as file:
            json.dump(whole, file, indent=1)
            file.write("\n")
