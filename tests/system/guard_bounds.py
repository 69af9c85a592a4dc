# SPDX-License-Identifier: ISC
"""The table tests/guard/bounds: what each figure of test_guard.py was when it
was written, and what it may be."""

import fcntl
import os

from harness import ROOT

PATH = os.path.join(ROOT, "tests", "guard", "bounds")
# A figure below LISTED is not written down, and stays below UNKNOWN.
LISTED = 0.05
UNKNOWN = 0.25
ROUNDED = 0.005         # the table has two digits
ONE = 0.45              # no whole call more for each unit
# load: (share, and so much) that a figure may grow. What is done step by step
# comes out the same each time, but that the ledger's thread wakes the loop,
# and that TCP and TLS cut bulk where they like.
MARGINS = {"session": (0.03, ONE), "crowd": (0.05, ONE),
           "request": (0.0, ONE), "up": (0.15, 1.0), "down": (0.15, 1.0),
           "idle": (0.1, 2.0)}
# Others. Of bulk, MiB are copied; of what is short, bytes.
OWN = {"up copied": (0.1, 0.06), "up spliced": (0.1, 0.06),
       "down copied": (0.1, 0.06), "down spliced": (0.1, 0.06),
       "session copied": (0.02, 32), "crowd copied": (0.02, 32),
       "request copied": (0.02, 8),
       "session calls": (0.05, 0.5), "session calls epoll_wait": (0.05, 1.0),
       "session calls getsockopt": (0.0, 1.0),
       "crowd calls epoll_wait": (0.05, 1.2)}
# Of mode direct alone. While channels are attached, both ends work, and who is
# faster says how often the loop looks and reads. Idle ones are pinged with their
# link, or half a heartbeat later, as they happened to attach: up to 6 wake-ups a
# minute for each link, 12 at the exit; one more for each session is more.
DIRECT = {"session calls read": (0.05, 1.0),
          "session calls recvfrom": (0.05, 1.0),
          "idle calls epoll_wait": (0.65, 2.0), "idle wakes": (0.35, 2.0)}
# A single call for each MiB: frames of credit come when they like.
ONE_OF_BULK = (0.15, 2.0)
# So many margins below what it was, a figure is stale: it could grow again, and
# nobody would be told.
STALE = 1.5
REWRITE = "sudo TUNNELD_GUARD_WRITE=1 make check-guard"


def bound_for(section, figure, today):
    words = figure.split(" ")
    share, more = OWN.get(figure) or MARGINS[words[0]]
    if "direct" in section:
        share, more = DIRECT.get(figure, (share, more))
    if words[0] in ("up", "down") and len(words) == 3:
        share, more = ONE_OF_BULK
    return today * (1 + share) + more


def floor_for(today, bound):
    return today - STALE * (bound - today)


def is_listed(figure, value):
    return len(figure.split(" ")) == 2 or value >= LISTED


def read():
    """{section: {figure: (today, bound)}}"""
    with open(PATH) as file:
        return parse(file)


def parse(lines):
    table, section = {}, None
    for line in lines:
        words = line.split("#")[0].split()
        if not words:
            continue
        if words[0].startswith("["):
            section = table.setdefault(line.strip(" []\n"), {})
        else:
            section[" ".join(words[:-2])] = (float(words[-2]),
                                             float(words[-1]))
    return table


def write(section, measured):
    """The section anew; others, and what stands above all, as they were."""
    with open(PATH, "r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        head = file.read().split("[")[0].rstrip("\n")
        table = read()
        table[section] = {figure: (value, bound_for(section, figure, value))
                          for figure, value in measured.items()
                          if is_listed(figure, value)}
        text = head + "\n"
        for name in sorted(table):
            text += "\n[%s]\n" % name
            for figure in sorted(table[name]):
                text += "%-32s %9.2f %9.2f\n" % (figure,
                                                 *table[name][figure])
        file.seek(0)
        file.truncate()
        file.write(text)


def least(rounds):
    """{figure: value} of two rounds, one after the other, that cost least.

    Whatever disturbs a round adds to it (a thread that wakes the loop, a
    segment that came late), and no load repeats itself like that: so the least
    is what the daemon needs, and a median is not as steady. But of two rounds
    and not of one: what comes every second round is the daemon's own."""
    names = set().union(*rounds)
    return {name: min(first.get(name, 0.0) + second.get(name, 0.0)
                      for first, second in zip(rounds, rounds[1:])) / 2
            for name in names}


def grown(known, measured, figure):
    """Which calls make up for it."""
    more = []
    for name, value in measured.items():
        before = known.get(name, (0.0, 0.0))[0]
        if name.startswith(figure + " ") and value > before + 0.2:
            more.append("%s %.2f, was %.2f" % (name.split(" ")[-1], value,
                                               before))
    return "; grew: " + "; ".join(more) if more else ""


def judge(section, measured, table):
    """What is above its bound, or far below what it was, as text: none is
    good news."""
    known = table.get(section)
    if known is None:
        return ["%s: not in %s" % (section, PATH)]
    complaints = []
    for figure in sorted(set(measured) | set(known)):
        if figure not in measured and len(figure.split(" ")) == 2:
            complaints.append("%s: %s: was not measured" % (section, figure))
            continue
        # A call that never came is none.
        value = measured.get(figure, 0.0)
        today, bound = known.get(figure, (0.0, UNKNOWN))
        if value > bound + ROUNDED:
            complaints.append("%s: %s: %.2f, at most %.2f (was %.2f)%s" % (
                section, figure, value, bound, today,
                grown(known, measured, figure)))
        if value < floor_for(today, bound) - ROUNDED:
            complaints.append(
                "%s: %s: %.2f, cheaper than written (%.2f): rewrite the "
                "table (%s)" % (section, figure, value, today, REWRITE))
    return complaints
