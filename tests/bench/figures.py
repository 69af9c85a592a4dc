# SPDX-License-Identifier: ISC
"""The arithmetic of tests/bench/bench, and what its results look like: nothing
here runs anything. Results are {measure: {subject: [figures of a round]}}, the
rounds in their order, so that those of one round belong together."""

import collections
import statistics

from place import Failed

SCHEMA = 1
NONE = "no-relay"
PLAIN = ("mux-plain", "direct-plain")
TLS = ("mux-tls", "direct-tls")
BULK = ("bulk1", "bulk1r", "bulk8", "bulk8r")

# Of the subjects `of` the best counts; `sign` is ">=" or "<="; `under` is the
# congestion control this is a goal for.
Goal = collections.namedtuple("Goal", "measure key of to sign wanted under")


def bulk_goals():
    for name in BULK:
        one = name.startswith("bulk1")
        for under, wanted in (("cubic", 0.78 if one else 0.68),
                              ("bbr", 0.57 if one else 0.50)):
            yield Goal(name, "value", PLAIN, NONE, ">=", wanted, under)
        yield Goal(name, "value", PLAIN, "haproxy-splice", ">=", 1.0, "cubic")
        yield Goal(name, "cpu", PLAIN, "haproxy-splice", "<=", 1.0, "cubic")
        yield Goal(name, "value", PLAIN, "splice-loop", ">=", 0.9, "cubic")
        yield Goal(name, "value", TLS, "ssh", ">=", 0.95 if one else 1.0,
                   "cubic")
        if not one:
            yield Goal(name, "cpu", TLS, "ssh", "<=", 1.0, "cubic")
        yield Goal(name, "value", TLS, "stunnel", ">=", 1.3, "cubic")


def request_goals():
    for of, to, wanted in ((("mux-plain",), "haproxy", 1.4),
                           (("direct-plain-off",), "haproxy", 0.9),
                           (("direct-plain",), "haproxy", 0.7),
                           (("mux-tls",), "stunnel", 5.0)):
        yield Goal("sessions", "value", of, to, ">=", wanted, "cubic")
    yield Goal("keepalive", "value", ("mux-plain",), "haproxy", ">=", 1.2,
               "cubic")
    for name in ("sessions", "keepalive"):
        yield Goal(name, "p99", PLAIN, "haproxy", "<=", 1.0, "cubic")
        yield Goal(name + "-beside", "p99", PLAIN, "haproxy", "<=", 1.3,
                   "cubic")


def mode_goals():
    """One mode against the other."""
    for name in ("bulk1", "bulk8"):
        yield Goal(name, "value", ("mux-plain",), "direct-plain", ">=", 0.9,
                   "cubic")
        yield Goal(name, "value", ("mux-tls",), "direct-tls", ">=", 1.0,
                   "cubic")
    for of, to in (("mux-plain", "direct-plain"), ("mux-tls", "direct-tls")):
        yield Goal("echo", "value", (of,), to, "<=", 2.0, "cubic")


GOALS = (*bulk_goals(), *request_goals(), *mode_goals())


def rate_text(rate):
    """2G as people read it."""
    return f"{rate[:-1]} {rate[-1]}bit/s" if rate[-1:].isalpha() else \
        f"{rate} bit/s"


def rotated(things, number):
    """In round `number`: each begins somewhere else, every other one runs
    backwards, so that nobody always follows the same one."""
    if not things:
        return []
    start = number * max(1, len(things) // 3) % len(things)
    turned = [*things[start:], *things[:start]]
    return turned[::-1] if number % 2 else turned


def median(rounds, key="value"):
    """None where it was not taken."""
    values = [one[key] for one in rounds if key in one]
    if values and len(values) != len(rounds):
        raise Failed(f"{key} is missing in some rounds")
    return statistics.median(values) if values else None


def ratios(subjects, of, to, key="value"):
    """Round by round: (least, median, most), or None."""
    mine, other = subjects.get(of), subjects.get(to)
    if not mine or not other:
        return None
    if len(mine) != len(other):
        raise Failed(f"{of}: {len(mine)} rounds, {to}: {len(other)}")
    pairs = [(a[key], b[key]) for a, b in zip(mine, other)
             if key in a and key in b]
    if not pairs:
        return None
    if any(b <= 0 for _, b in pairs):
        # No relay costs nothing, and a clock of 10 ms may have seen nothing.
        return None
    values = sorted(a / b for a, b in pairs)
    return values[0], statistics.median(values), values[-1]


def best(subjects, goal, suffix=""):
    """Which of goal.of stands for ours: CPU time is that of the one that moved
    the most. None if none was measured."""
    key = "value" if goal.key == "cpu" else goal.key
    sign = ">=" if goal.key == "cpu" else goal.sign
    found = [(median(subjects[one + suffix], key), one + suffix)
             for one in goal.of if subjects.get(one + suffix)]
    if not found:
        return None
    return (max if sign == ">=" else min)(found)[1]


def judge_one(goal, subjects):
    """What became of a goal whose measure was taken. One whose subject or ratio
    is not there has no figure, and is neither met nor missed."""
    of = best(subjects, goal)
    values = ratios(subjects, of, goal.to, goal.key) if of else None
    least, median_, most = values or (None, None, None)
    met = None if values is None else meets(median_, goal.sign, goal.wanted)
    if of is None:  # "plain" or "tls" where more than one would do
        of = goal.of[0] if len(goal.of) == 1 else goal.of[0].split("-")[1]
    return {"congestion": goal.under, "measure": goal.measure,
            "key": goal.key, "of": of, "to": goal.to, "least": least,
            "median": median_, "most": most, "sign": goal.sign,
            "wanted": goal.wanted, "met": met}


def meets(figure, sign, wanted):
    return figure >= wanted if sign == ">=" else figure <= wanted


def judge(results, under):
    """[dict] of the goals whose measure was taken under this one."""
    return [judge_one(goal, results[goal.measure]) for goal in GOALS
            if goal.under == under and goal.measure in results]


def count_goals(goals):
    """(met, missed, not measured)"""
    found = [goal["met"] for goal in goals]
    return found.count(True), found.count(False), found.count(None)


def judge_scale(rows):
    """Of (what, figure, sign, wanted) the same shape, as far as it goes."""
    return [{"congestion": None, "measure": what, "key": "value", "of": None,
             "to": None, "median": figure, "sign": sign, "wanted": wanted,
             "met": meets(figure, sign, wanted)}
            for what, figure, sign, wanted in rows]


def summary(results):
    """{measure: {subject: {key: median, "ratio": to no relay}}}."""
    shown = {}
    for measure, subjects in results.items():
        for subject, rounds in subjects.items():
            one = {key: median(rounds, key) for key in rounds[0]}
            ratio = ratios(subjects, subject, NONE)
            one["ratio"] = ratio[1] if ratio else None
            shown.setdefault(measure, {})[subject] = one
    return shown


def document(facts, runs, scale=None):
    """What is written as JSON. runs: {congestion: results}."""
    goals = [one for name, results in runs.items()
             for one in judge(results, name)]
    goals += judge_scale((scale or {}).get("goals", []))
    return {"schema": SCHEMA, **facts,
            "runs": {name: {"rounds": results, "summary": summary(results)}
                     for name, results in runs.items()},
            "scale": scale or {}, "goals": goals}
