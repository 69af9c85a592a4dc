# SPDX-License-Identifier: ISC
"""What a bench has found as text that fits 80 columns."""

from figures import BULK, NONE, count_goals, rate_text, ratios
from guests import GUESTS
from subjects import label

WIDTH = 80
CORES = 2       # that the goals were set for
FIRST = 24
TITLES = {
    "sessions": "New connections: {users} users, \"Connection: close\"",
    "keepalive": "Requests on connections that stay: {users} users",
    "sessions-beside": "New connections, beside a transfer of {beside}",
    "keepalive-beside": "Requests, beside a transfer of {beside}",
    "echo": "One byte there and back, beside eight transfers"}


def number(value, width=8):
    """Four digits that count; "-" for what is not known."""
    if value is None:
        return f"{'-':>{width}}"
    digits = 0 if value >= 1000 else 1 if value >= 100 else \
        2 if value >= 1 else 3
    return f"{value:>{width}.{digits}f}"


def row(first, cells, width=8):
    return f"{first[:FIRST]:<{FIRST}}" + "".join(
        f"{cell:>{width}}" if isinstance(cell, str) else number(cell, width)
        for cell in cells)


def show_head(document):
    machine = document["machine"]
    tools = ", ".join(f"{name} {version}" for name, version in
                      document["versions"].items())
    lines = [f"{document['kind']}: {document['when']}",
             *show_command(document),
             f"{machine['cores']} cores {machine['cpu']}, "
             f"{machine['memory_gib']} GiB",
             f"{machine['system']}, Linux {machine['kernel']}",
             *wrap(tools), *show_builds_of(document),
             f"Median of {document['rounds']} rounds of "
             f"{document['seconds']:g} s, all subjects in turn in each"]
    if document["rounds"] < 5:
        lines.append("FEWER THAN FIVE ROUNDS: a look, not figures to cite")
    for name, why in document["absent"].items():
        lines += wrap(f"ABSENT: {name}: {why}")
    for one in document.get("again", []):
        lines += wrap(f"REPEATED: {one['congestion']} {one['measure']}: "
                      f"{one['why']}")
    return lines


def show_command(document):
    """How it was taken; files of before 2026-11-22 do not say it."""
    if "arguments" not in document:
        return []
    return wrap("taken by: " + " ".join(["bench", *document["arguments"]]))


def show_builds_of(document):
    """The builds, if there are several, and the tree that the bench is of."""
    lines, builds = [], document.get("builds", [])
    if len(builds) > 1 and isinstance(builds[0], dict):
        lines = wrap("builds: " + ", ".join(
            f"{one['name']} (tunneld {one['tunneld']})"
            for one in builds))
    if document.get("bench_commit"):
        lines.append(f"the bench is that of commit {document['bench_commit']}")
    return lines


def wrap(text):
    lines, line = [], ""
    for word in text.split():
        if line and len(line) + 1 + len(word) > WIDTH:
            lines.append(line)
            line = " "
        line += (" " if line.strip() else "") + word
    return lines + [line]


def fitting(width, *texts):
    """The first that is shorter than that, or the last."""
    return next((text for text in texts if len(text) < width), texts[-1])


def show_bulk(summary, congestion):
    names = [name for name in BULK if name in summary]
    if not names:
        return []
    heads = [name[4] + ("<" if name.endswith("r") else ">") for name in names]
    order = list(summary[names[0]])
    wide = 7 * len(names)
    lines = ["", f"Bulk, {congestion}; 1 or 8 streams, > to the service, "
             "< from it",
             f"{'':<{FIRST}}"
             f"{fitting(wide, 'CPU s per GiB', 'CPU s/GiB', 'CPU'):>{wide}}"
             f"{fitting(wide, 'ratio to no relay', 'ratio'):>{wide}}",
             row("subject", heads + heads, 7)]
    for subject in order:
        found = [summary[name].get(subject, {}) for name in names]
        if subject == NONE:
            lines.append(row(label(subject) + ", Gbit/s", [""] * len(names) +
                             [one.get("value") for one in found], 7))
            continue
        lines.append(row(label(subject), [one.get("cpu") for one in found] +
                         [one.get("ratio") for one in found], 7))
    return lines


def show_requests(summary, congestion, name, words):
    if name not in summary:
        return []
    beside = "beside" in name
    heads = ["1/s", "ratio", "Gbit/s" if beside else
             "CPU us", "p50 ms", "p99", "p99.9"]
    lines = ["", f"{TITLES[name].format(**words)}; {congestion}",
             row("subject", heads)]
    for subject, one in summary[name].items():
        # Of 1,000 or 10,000 in seconds: of one in microseconds.
        cost = one["bulk"] if beside else \
            one["cpu"] * (1000 if name == "sessions" else 100)
        lines.append(row(label(subject), [
            one["value"], one["ratio"], cost, one["p50"], one["p99"],
            one["p99.9"]]))
    return lines


def show_echo(summary, congestion, words):
    if "echo" not in summary:
        return []
    lines = ["", f"{TITLES['echo'].format(**words)}; {congestion}",
             row("", ["p50 ms", "p99 ms", "Gbit/s", "CPU s/s"])]
    for subject, one in summary["echo"].items():
        lines.append(row(label(subject), [one["p50"], one["value"],
                                          one["bulk"], one["cpu"]]))
    return lines


def show_scale(scale):
    """Tables as the modules that made them wish them."""
    lines = [""] if scale.get("failed") else []
    for name, why in scale.get("failed", {}).items():
        lines += wrap(f"FAILED, no figures: {name}: {why[-300:]}")
    if scale.get("congestion") and scale["tables"]:
        lines += ["", f"Many sessions and links; {scale['congestion']}"]
    for title, heads, rows in scale.get("tables", []):
        lines += ["", *title.splitlines(), row("", heads)]
        lines += [row(first, cells) for first, *cells in rows]
    return lines


def goal_text(goal):
    unit = {"value": "", "cpu": " CPU", "p99": " p99"}[goal["key"]]
    if goal["to"] is None:
        return goal["measure"]
    return f"{goal['measure']}{unit}: {goal['of']} / {goal['to']}"


def show_goals(goals, cores=CORES):
    if not goals:
        return []
    lines = ["", f"{'Goals':<52}{'median':>8}   wanted"]
    if cores != CORES:
        lines.append(f"GOALS ARE FOR {CORES} CORES, and this machine has "
                     f"{cores}: met or missed, they tell little")
    for goal in goals:
        under = goal["congestion"]
        text = (f"{under} " if under else "") + goal_text(goal)
        wanted = f"{goal['sign']} {goal['wanted']:<5g}"
        lines.append(f"{text[:52]:<52}" + (
            f"  NOT MEASURED, {wanted.strip()}" if goal["met"] is None else
            f"{number(goal['median'])}   {wanted} "
            f"{'met' if goal['met'] else 'MISSED'}"))
    met, missed, without = count_goals(goals)
    return lines + [f"{met} met, {missed} missed" +
                    (f", {without} NOT MEASURED" if without else "")]


def show_bound(runs):
    """What the goals of bulk are held against on this machine."""
    lines = []
    for congestion, run in runs.items():
        found = [f"{name} {one['splice-loop']['ratio']:.2f}"
                 for name, one in run["summary"].items() if name in BULK and
                 one.get("splice-loop", {}).get("ratio") is not None]
        if found:
            lines += wrap(f"The bare splice loop itself reaches, {congestion}:"
                          f" {', '.join(found)} of no relay")
    return lines


def show_builds(runs):
    """Of each build after the first: ratios to the first."""
    lines = []
    for congestion, run in runs.items():
        for name, subjects in run["rounds"].items():
            for subject in subjects:
                first, at, _ = subject.partition("@")
                values = at and ratios(subjects, subject, first)
                if not values:
                    continue
                cpu = ratios(subjects, subject, first, "cpu")
                lines.append(f"{congestion + ' ' + name + ' ' + subject:<46}" +
                             "".join(number(value) for value in
                                     (*values, cpu[1] if cpu else None)))
    heads = "".join(f"{head:>8}" for head in ("least", "median", "most",
                                              "CPU"))
    return ["", f"{'Ratio to the first build':<46}{heads}", *lines] \
        if lines else []


def show(document):
    words = {"users": document["users"], "beside": rate_text(document["beside"])}
    lines = show_head(document)
    for congestion, run in document["runs"].items():
        summary = run["summary"]
        lines += show_bulk(summary, congestion)
        for name in ("sessions", "keepalive", "sessions-beside",
                     "keepalive-beside"):
            lines += show_requests(summary, congestion, name, words)
        lines += show_echo(summary, congestion, words)
    lines += show_scale(document["scale"])
    lines += show_builds(document["runs"])
    lines += show_goals(document["goals"], document["machine"]["cores"])
    lines += show_bound(document["runs"])
    return "\n".join(lines) + "\n"


# --- README.md ----------------------------------------------------------------

ROWS = {"no-relay": "no relay at all", "mux-plain": "**tunneld**, `mux`",
        "direct-plain": "**tunneld**, `direct`",
        "splice-loop": "a bare splice loop",
        "haproxy-splice": "haproxy pair, splice forced",
        "haproxy": "haproxy pair", "nginx": "nginx stream pair",
        "mux-tls": "**tunneld**, `mux`, TLS",
        "direct-tls": "**tunneld**, `direct`, TLS", "ssh": "ssh -R, AES-GCM",
        "stunnel": "stunnel pair", **{name: name for name in GUESTS}}
# Of each cell: what it is made of, how it looks, its unit.
CELLS = (((("bulk1", "cpu"), ("bulk8", "cpu")), ".2f", ""),
         ((("bulk1", "ratio"), ("bulk8", "ratio")), ".2f", ""),
         ((("sessions", "value"),), ",.0f", ""),
         ((("keepalive", "value"),), ",.0f", ""),
         ((("keepalive", "p99"),), ".1f", " ms"))
HEAD = """\
| | CPU s per GiB, 1 / 8 streams | throughput, 1 / 8 | new connections a \
second | requests a second | their p99 |
| --- | ---: | ---: | ---: | ---: | ---: |
"""


def cell(summary, subject, keys, form, unit):
    """Empty where there is nothing; no relay costs nothing."""
    values = [summary.get(measure, {}).get(subject, {}).get(key)
              for measure, key in keys]
    if None in values or subject == NONE and keys[0][1] == "cpu":
        return ""
    return " / ".join(format(value, form) for value in values) + unit


def markdown(document):
    """The table of README.md: of the first congestion control, who was
    measured."""
    summary = next(iter(document["runs"].values()))["summary"]
    return HEAD + "".join(
        f"| {name} | " +
        " | ".join(cell(summary, subject, *one) for one in CELLS) + " |\n"
        for subject, name in ROWS.items()
        if any(subject in subjects for subjects in summary.values()))
