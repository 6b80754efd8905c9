"""Scenario files: what they may hold, checked before anything runs, and made smaller for a trial.

A scenario is a YAML map of the keys below. `cases` is a list of maps, each with a `name`, of what differs
from the rest of the file; maps of one level (message, load, sessions, raw, steady) are merged, all else is
replaced.

    title, shows, order   a line; what the scenario is good for; its place among the others
    flow                  deliver   inject, until every recipient has ended
                          accept    inject while a limit holds all deliveries; then kill -9, and count
                          steady    hold sessions for a while and look at what they carry
                          idle      the load's connections, by SMTP, that only wait
                          restart   kill -9 with the recipients queued, start, wait for the first delivery
    world                 hosts and domains as bench/world reads them (build/world --help)
    daemon                postriderd's configuration; state, sockets, resolver and port are added
    domains, recipients   recipient n is u<n>@ the (n mod count)th of the domains
    message               kind: merged (variables in header and body), unmerged (the same bytes for all) or
                          distinct (a message of its own for each); size: bytes, whole
    sessions              a_site: connections to one site at most; in_all: of all sites, by a limit of files
    load                  verb: bulk (one job), smtp (a message a recipient; connections) or jobs (a job a
                          recipient; connections, per_upload, rate a second or {of: CASE, share: 0.5} of
                          what that case delivered in the same run)
    raw                   messages: transactions for the raw ceiling; per_transaction; sessions (in_all);
                          bdat: true for BDAT instead of DATA; false: none is measured
    store                 fresh, or one with a history: backlog (recipients deferred) or aged (the same,
                          drained out of order); history: of how many
    steady                seconds looked at; transaction_ms: what the receivers take for a transaction
    unreliable            true: receivers refuse and lose, so some recipients bounce, some come twice
    compare               a case before this one: the share of its deliveries a second is shown
    goals                 [{figure, at_least or at_most}], judged by the median of the runs
    patience_s            after which a wait is given up"""
import os
from dataclasses import dataclass

import yaml

from .processes import Trouble
from .report import FIGURES

FLOWS = ("deliver", "accept", "steady", "restart", "idle")
KINDS = ("merged", "unmerged", "distinct")
STORES = ("fresh", "backlog", "aged")
DEFAULTS = {"shows": "", "order": 1000, "flow": "deliver", "daemon": {}, "load": {"verb": "bulk"},
            "raw": False, "store": "fresh", "history": 0, "steady": {}, "unreliable": False, "compare": None,
            "goals": [], "patience_s": 900}
REQUIRED = ("title", "world", "domains", "recipients", "message", "sessions")
MERGED = ("message", "load", "sessions", "raw", "steady")
INSIDE = {
    "message": {"kind", "size"}, "load": {"verb", "connections", "per_upload", "rate"},
    "sessions": {"a_site", "in_all"}, "raw": {"messages", "per_transaction", "sessions", "bdat"},
    "steady": {"seconds", "transaction_ms"}, "world": {"hosts", "domains", "dns", "seed", "one_listener"},
}


@dataclass(frozen=True)
class Scale:
    """How much smaller than written: a factor, and a cap for the impatient."""
    factor: float = 1.0
    most: int = 0

    @property
    def whole(self):
        return self.factor == 1.0 and self.most == 0

    def of(self, count):
        count = max(1, round(count * self.factor)) if count else 0
        return min(count, self.most) if self.most else count

    def text(self):
        parts = [f"{self.factor:g} of the size"] if self.factor != 1.0 else []
        return " and ".join(parts + ([f"at most {self.most:,} recipients"] if self.most else []))


def needs(keys):
    """The cases of the same run that this one refers to."""
    rate = keys["load"].get("rate")
    return [name for name in (keys["compare"], rate["of"] if isinstance(rate, dict) else None) if name]


class Case:
    """One way to run a scenario; its keys are attributes."""

    def __init__(self, scenario, keys, scale):
        self.scenario, self.keys, self.name = scenario, keys, keys["name"]
        for key in ("flow", "world", "daemon", "domains", "message", "load", "raw", "store", "steady",
                    "unreliable", "compare", "goals", "patience_s"):
            setattr(self, key, keys[key])
        self.recipients, self.history = scale.of(keys["recipients"]), scale.of(keys["history"])
        self.sessions = dict(keys["sessions"])
        if self.raw:
            self.raw = {**self.raw, "messages": scale.of(self.raw["messages"])}
        if self.flow == "steady" and not scale.whole:
            share = self.recipients / keys["recipients"]
            self.sessions = {key: max(1, round(n * share)) for key, n in self.sessions.items()}
            self.steady = {**self.steady, "seconds": 4 * self.steady["transaction_ms"] / 1000}

    @property
    def label(self):
        return self.scenario.name + ("/" + self.name if self.name else "")

    def needs(self):
        return needs(self.keys)

    @property
    def tls(self):
        offered = any(host.get("starttls") == "good" for host in self.world["hosts"])
        return "STARTTLS" if offered else "none"

    def config(self):
        """The daemon's, with the sessions that the case is about."""
        sites = [dict(site) for site in self.daemon.get("sites", [{"name": "default"}])]
        for site in sites:
            if site["name"] == "default":
                site.setdefault("max_connections", self.sessions["a_site"])
        return {**self.daemon, "sites": sites}

    def stated(self):
        """What a reader must know beside a figure."""
        return {
            "recipients": self.recipients, "message": self.message["kind"],
            "message_bytes": self.message["size"], "load": dict(self.load),
            "sessions_a_site": self.sessions["a_site"], "sessions": self.sessions["in_all"], "tls": self.tls,
            "dkim": "signed" if self.daemon.get("dkim") else "none",
            "workers": self.daemon.get("workers", "one a core"),
            "durability": "every commit synced (fdatasync)",
            "store": self.store if self.store == "fresh" else f"{self.store}, {self.history:,} recipients",
        }


class Scenario:
    def __init__(self, name, keys, scale):
        self.name, self.cases, self.wanted = name, [], set()
        keys = dict(keys)
        self.title, self.shows = keys["title"], keys.get("shows", "").strip()
        for case in keys.pop("cases", [{"name": ""}]):
            merged = {**DEFAULTS, **keys}
            for key, value in case.items():
                both = key in MERGED and isinstance(value, dict) and isinstance(merged.get(key), dict)
                merged[key] = {**merged[key], **value} if both else value
            self.check_case(merged)
            self.cases.append(Case(self, merged, scale))

    def choose(self, name):
        """A case, or "" for all."""
        names = {case.name for case in self.cases}
        if name and name not in names:
            raise Trouble(f"{self.name} has no case '{name}'; it has {', '.join(sorted(names))}")
        self.wanted |= {name} if name else names

    def drop_others(self):
        for case in reversed(self.cases):
            if case.name in self.wanted:
                self.wanted |= set(case.needs())
        self.cases = [case for case in self.cases if case.name in self.wanted]

    def check(self, sound, wanted):
        if not sound:
            raise Trouble(f"bench/scenarios/{self.name}.yaml: {wanted}")

    def check_case(self, keys):
        where = f"case '{keys.get('name', '?')}': "
        known = set(DEFAULTS) | set(REQUIRED) | {"name"}
        self.check("name" in keys, "a case wants a name")
        for key in REQUIRED:
            self.check(key in keys, where + f"'{key}' is missing")
        for key in keys:
            self.check(key in known, where + f"unknown key '{key}'; known are {', '.join(sorted(known))}")
        for key, inside in INSIDE.items():
            for name in keys[key] or {}:
                self.check(name in inside, where + f"unknown '{name}' in {key}; known are "
                           + ", ".join(sorted(inside)))
        self.check(keys["flow"] in FLOWS, where + f"flow is one of {', '.join(FLOWS)}")
        self.check(keys["message"].get("kind") in KINDS, where + f"message.kind is one of {', '.join(KINDS)}")
        self.check(keys["load"].get("verb") in ("bulk", "jobs", "smtp"),
                   where + "load.verb is bulk, jobs or smtp")
        carried = {"bulk": ("merged", "unmerged"), "jobs": ("distinct",), "smtp": ("distinct", "unmerged")}
        self.check(keys["message"]["kind"] in carried[keys["load"]["verb"]],
                   where + "jobs carry distinct messages, smtp those or unmerged ones, bulk all but distinct")
        self.check(keys["store"] in STORES, where + f"store is one of {', '.join(STORES)}")
        self.check(keys["store"] == "fresh" or keys["history"] > 0,
                   where + "a store with a history wants its size")
        self.check({"a_site", "in_all"} <= set(keys["sessions"]), where + "sessions wants a_site and in_all")
        self.check(keys["flow"] != "steady" or {"seconds", "transaction_ms"} <= set(keys["steady"]),
                   where + "steady wants seconds and transaction_ms")
        for other in needs(keys):
            self.check(other in [case.name for case in self.cases],
                       where + f"no case '{other}' comes before it")
        for goal in keys["goals"]:
            self.check("figure" in goal and len({"at_least", "at_most"} & set(goal)) == 1,
                       where + "a goal wants figure, and at_least or at_most")
            self.check(goal["figure"] in FIGURES,
                       where + f"no figure is called '{goal['figure']}'; there are " + ", ".join(FIGURES))


def known_scenarios(directory):
    """{name: keys} by their `order`. A file without a title is a world for something else (the demo's)."""
    found = []
    for name in sorted(os.listdir(directory)):
        path = os.path.join(directory, name)
        if not name.endswith(".yaml"):
            continue
        try:
            with open(path, encoding="utf-8") as f:
                keys = yaml.safe_load(f)
        except (OSError, yaml.YAMLError) as error:
            raise Trouble(f"cannot read the scenario {path}: {error}") from None
        if isinstance(keys, dict) and "title" in keys:
            found.append((keys.get("order", DEFAULTS["order"]), name[:-5], keys))
    return {name: keys for _, name, keys in sorted(found, key=lambda item: item[:2])}


def load_all(directory, wanted, scale):
    """All scenarios, or those that `wanted` names (NAME or NAME/CASE), with the cases that those refer to."""
    known = known_scenarios(directory)
    chosen = {}
    for text in wanted or known:
        name, _, case = text.partition("/")
        if name not in known:
            raise Trouble(f"there is no scenario '{name}'; there are {', '.join(known)}")
        chosen.setdefault(name, Scenario(name, known[name], scale)).choose(case)
    for scenario in chosen.values():
        scenario.drop_others()
    return list(chosen.values())
