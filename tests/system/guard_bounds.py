# SPDX-License-Identifier: ISC
"""The table tests/guard/bounds: what each figure of test_guard.py was when it
was written, and what it may be."""

import fcntl
import os

from harness import ROOT

PATH = os.path.join(ROOT, "tests", "guard", "bounds")
# A call that is not in the table comes less often than this, for each unit.
UNKNOWN = 0.45
LISTED = 0.2
# load: (share, and so much) that a figure may grow. What is done step by step
# comes out the same each time, but that the ledger's thread wakes the loop,
# and that TCP and TLS cut bulk where they like.
MARGINS = {"session": (0.03, UNKNOWN), "crowd": (0.05, UNKNOWN),
           "request": (0.0, UNKNOWN), "up": (0.15, 1.0), "down": (0.15, 1.0),
           "idle": (0.1, 2.0)}
# Others: while channels of mode direct are attached, both ends work.
OWN = {"up copied": (0.1, 0.06), "up spliced": (0.1, 0.06),
       "down copied": (0.1, 0.06), "down spliced": (0.1, 0.06),
       "session calls": (0.05, 0.5), "session calls epoll_wait": (0.05, 1.0),
       "crowd calls epoll_wait": (0.05, 1.2)}


# A single call for each MiB: frames of credit come when they like.
ONE_OF_BULK = (0.15, 2.0)


def bound_for(figure, today):
    words = figure.split(" ")
    share, more = OWN.get(figure) or MARGINS[words[0]]
    if words[0] in ("up", "down") and len(words) == 3:
        share, more = ONE_OF_BULK
    return today * (1 + share) + more


def is_listed(figure, value):
    return len(figure.split(" ")) == 2 or value >= LISTED


def read():
    """{section: {figure: (today, bound)}}"""
    table, section = {}, None
    with open(PATH) as file:
        for line in file:
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
        table[section] = {figure: (value, bound_for(figure, value))
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


def grown(known, measured, figure):
    """Which calls make up for it."""
    more = []
    for name, value in measured.items():
        before = known.get(name, (0.0, 0.0))[0]
        if name.startswith(figure + " ") and value > before + LISTED:
            more.append("%s %.2f, was %.2f" % (name.split(" ")[-1], value,
                                               before))
    return "; grew: " + "; ".join(more) if more else ""


def judge(section, measured):
    """What is above its bound, as text: none is good news."""
    known = read().get(section)
    if known is None:
        return ["%s: not in %s" % (section, PATH)]
    complaints = ["%s: %s: was not measured" % (section, figure)
                  for figure in known if figure not in measured and
                  len(figure.split(" ")) == 2]
    for figure, value in measured.items():
        today, bound = known.get(figure, (0.0, UNKNOWN))
        if value > bound + 0.005:
            complaints.append("%s: %s: %.2f, at most %.2f (was %.2f)%s" % (
                section, figure, value, bound, today,
                grown(known, measured, figure)))
    return complaints


def is_stale(section, measured):
    """So much less is done than the table says that it guards nothing."""
    known = read().get(section, {})
    return [figure for figure, value in measured.items()
            if figure.endswith(" calls") and
            value < 0.8 * known.get(figure, (0.0, 0.0))[0]]
