"""What was measured, for people and programs: medians over the runs, a table, JSON, goals judged."""
import json
import statistics

# figure: what it is called, how it is written. Their order is the table's.
FIGURES = {
    "delivered_a_second": ("delivered a second", "{:,.0f}"),
    "ended_a_second": ("ended (delivered or bounced) a second", "{:,.0f}"),
    "accepted_a_second": ("accepted a second", "{:,.0f}"),
    "raw_a_second": ("raw ceiling, recipients a second", "{:,.0f}"),
    "of_raw": ("share of the raw ceiling", "{:.1%}"),
    "possible_a_second": ("sessions / time a transaction, a second", "{:,.0f}"),
    "of_possible": ("share of that", "{:.1%}"),
    "of_compared": ("deliveries a second against {compare}", "{:.1%}"),
    "handshakes_a_second": ("TLS handshakes a second", "{:,.0f}"),
    "resumed": ("of them resumed", "{:.1%}"),
    "first_delivery_s": ("start to the first delivery, s", "{:.3f}"),
    "up_s": ("start to answering, s", "{:.3f}"),
    "queued": ("queued at the start", "{:,.0f}"),
    "latency_p50_ms": ("accepted to delivered, median, ms", "{:,.1f}"),
    "latency_p99_ms": ("accepted to delivered, 99th percentile, ms", "{:,.1f}"),
    "answer_p50_ms": ("upload to answer, median, ms", "{:,.2f}"),
    "answer_p99_ms": ("upload to answer, 99th percentile, ms", "{:,.2f}"),
    "load_behind_ms": ("load behind its rate, 99th percentile, ms", "{:,.1f}"),
    "bounced_share": ("bounced", "{:.2%}"),
    "twice": ("delivered again after a lost reply", "{:,.0f}"),
    "sessions": ("sessions, median", "{:,.0f}"),
    "sessions_least": ("sessions, fewest", "{:,.0f}"),
    "session_kib": ("daemon's memory a session, KiB", "{:,.1f}"),
    "seconds": ("seconds in all", "{:,.2f}"),
    "daemon_us_each": ("daemon's CPU a recipient, us", "{:,.1f}"),
    "daemon_cpu_s": ("CPU of the daemon, s", "{:,.2f}"),
    "load_cpu_s": ("CPU of the load, s", "{:,.2f}"),
    "world_cpu_s": ("CPU of the receivers, s", "{:,.2f}"),
    "raw_cpu_s": ("CPU of raw, s", "{:,.2f}"),
    "raw_world_cpu_s": ("CPU of the receivers for raw, s", "{:,.2f}"),
    "daemon_memory_mib": ("memory of the daemon (RssAnon + RssShmem), peak, MiB", "{:,.1f}"),
    "daemon_file_mib": ("its mapped files (RssFile), apart, MiB", "{:,.0f}"),
    "load_memory_mib": ("memory of the load, MiB", "{:,.1f}"),
    "world_memory_mib": ("memory of the receivers, MiB", "{:,.1f}"),
    "sockets_mib": ("kernel's TCP buffers of all, MiB", "{:,.1f}"),
}


class Result:
    """One case: its figures over the runs."""

    def __init__(self, case, runs):
        self.case, self.runs = case, runs
        self.figures = {name: Spread([run[name] for run in runs]) for name in FIGURES
                        if runs and all(name in run for run in runs)}

    def called(self, figure):
        return FIGURES[figure][0].format(compare=f"'{self.case.compare}'")

    def verdicts(self):
        return [Verdict(self, goal) for goal in self.case.goals]

    def json(self):
        return {"case": self.case.name, "stated": self.case.stated(),
                "figures": {name: spread.json() for name, spread in self.figures.items()}}


class Spread:
    def __init__(self, values):
        self.values = values
        self.median, self.low, self.high = statistics.median(values), min(values), max(values)

    def text(self, form):
        low, high = form.format(self.low), form.format(self.high)
        return form.format(self.median) + (f"  [{low}, {high}]" if len(self.values) > 1 else "")

    def json(self):
        return {"median": self.median, "lowest": self.low, "highest": self.high, "runs": self.values}


class Verdict:
    """A goal and what the median of the runs makes of it."""

    def __init__(self, result, goal):
        self.result, self.figure = result, goal["figure"]
        self.least, self.most = goal.get("at_least"), goal.get("at_most")
        self.spread = result.figures.get(self.figure)

    @property
    def reached(self):
        """None where nothing was measured."""
        if self.spread is None:
            return None
        return self.spread.median >= self.least if self.most is None else self.spread.median <= self.most

    def wanted(self):
        form = FIGURES[self.figure][1]
        if self.most is None:
            return f"at least {form.format(self.least)}"
        return f"at most {form.format(self.most)}"

    def text(self, judged):
        word = {None: "not measured", True: "reached", False: "MISSED"}[self.reached]
        word = word if judged else "not judged"
        got = self.spread.text(FIGURES[self.figure][1]) if self.spread else "-"
        return [word, self.result.case.label, self.result.called(self.figure), self.wanted(), got]

    def json(self, judged):
        return {"case": self.result.case.label, "figure": self.figure, "at_least": self.least,
                "at_most": self.most, "median": self.spread and self.spread.median,
                "reached": self.reached if judged else None}


def stated_line(case):
    stated = case.stated()
    load = stated["load"]
    how = "one job"
    if load["verb"] != "bulk":
        each = "jobs of one recipient" if load["verb"] == "jobs" else "a message each by SMTP"
        how = f"{each} over {load.get('connections', 1):,} connections"
    if "per_upload" in load:
        how += f", {load['per_upload']:,} an upload"
    if "rate" in load:
        rate = load["rate"]
        share = isinstance(rate, dict)
        how += f", {rate['share']:.0%} of the rate of '{rate['of']}'" if share else f", {rate:,} a second"
    store = "" if case.store == "fresh" else f"; store {stated['store']}"
    return (f"{stated['recipients']:,} recipients, {how}, {stated['message']} messages of "
            f"{stated['message_bytes']:,} bytes; at most {stated['sessions_a_site']:,} sessions a site, "
            f"{stated['sessions']:,} in all; TLS {stated['tls']}, DKIM {stated['dkim']}; workers: "
            f"{stated['workers']}; {stated['durability']}{store}")


def wrap(text, width=100):
    lines, line = [], ""
    for word in text.split():
        if line and len(line) + len(word) >= width:
            lines, line = lines + [line], ""
        line += (" " if line else "") + word
    return "\n".join("  " + each for each in lines + [line])


def table(rows):
    """Columns aligned, the last one as it is."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]) - 1)]
    return "\n".join("  " + "  ".join([cell.ljust(width) for cell, width in zip(row, widths)] + [row[-1]])
                     for row in rows)


def case_text(result):
    rows = [[result.called(name), spread.text(FIGURES[name][1])] for name, spread in result.figures.items()]
    return f"\n{result.case.label}\n{wrap(stated_line(result.case))}\n{table(rows)}"


def overview_text(results):
    """A line a case, of what one looks at first."""
    columns = {"delivered_a_second": "delivered/s", "of_raw": "of raw", "accepted_a_second": "accepted/s",
               "latency_p99_ms": "p99, ms", "daemon_us_each": "CPU, us each", "daemon_memory_mib": "MiB"}
    rows = [["", *columns.values(), ""]]
    for result in results:
        cells = [FIGURES[name][1].format(result.figures[name].median) if name in result.figures else "-"
                 for name in columns]
        rows.append([result.case.label, *cells, ""])
    widths = [max(len(row[i]) for row in rows) for i in range(1, len(columns) + 1)]
    return "\nAll at a glance (medians)\n" + table(
        [[row[0]] + [cell.rjust(width) for cell, width in zip(row[1:-1], widths)] + [""] for row in rows])


def summary_text(results, troubles, scale, runs):
    verdicts = [verdict for result in results for verdict in result.verdicts()]
    lines = [f"\nGoals (medians of {runs} run{'s' if runs > 1 else ''})" if verdicts else ""]
    if not scale.whole:
        lines.append(f"  measured at {scale.text()}: nothing is judged")
    if verdicts:
        lines.append(table([verdict.text(scale.whole) for verdict in verdicts]))
    lines += [f"  FAILED  {label}: {trouble}" for label, trouble in troubles]
    return "\n".join(line for line in lines if line)


def write_json(path, machine, results, troubles, scale, runs):
    scenarios = {}
    for result in results:
        scenario = result.case.scenario
        entry = {"title": scenario.title, "shows": scenario.shows, "cases": []}
        scenarios.setdefault(scenario.name, entry)["cases"].append(result.json())
    verdicts = [verdict for result in results for verdict in result.verdicts()]
    whole = {"machine": machine, "runs": runs, "scale": {"factor": scale.factor, "most": scale.most or None},
             "scenarios": scenarios, "goals": [verdict.json(scale.whole) for verdict in verdicts],
             "failed": [{"case": label, "why": str(trouble)} for label, trouble in troubles]}
    with open(path, "w", encoding="utf-8") as f:
        json.dump(whole, f, indent=1)
        f.write("\n")
