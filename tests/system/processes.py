# SPDX-License-Identifier: ISC
"""Processes as the kernel sees them: a master and its workers."""

import collections
import contextlib
import os

Process = collections.namedtuple("Process", "pid start")


def stat(pid):
    """(state, parent, start, threads) of a process, or None."""
    try:
        with open("/proc/%d/stat" % pid) as file:
            words = file.read().rsplit(")", 1)[1].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return words[0], int(words[1]), int(words[19]), int(words[17])


def identify(pid):
    """What tells it from another one that gets its pid later."""
    found = stat(pid)
    return Process(pid, found[2] if found else 0)


def is_running(one):
    """Neither gone nor a zombie. One whose first thread is, and others not yet,
    still has its files open."""
    found = stat(one.pid)
    return bool(found) and found[2] == one.start and \
        (found[0] not in "ZX" or found[3] > 1)


def children(pid):
    """Those that run, oldest first."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            known = stat(int(name))
            if known and known[1] == pid and known[0] not in "ZX":
                found.append(Process(int(name), known[2]))
    return sorted(found, key=lambda one: (one.start, one.pid))


def zombies(pid):
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and
            (stat(int(name)) or "R0")[:2] == ("Z", pid)]


def descriptors(pid):
    """{number: what it is} of a process."""
    found = {}
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for name in os.listdir("/proc/%d/fd" % pid):
            with contextlib.suppress(OSError):
                found[int(name)] = os.readlink("/proc/%d/fd/%s" % (pid, name))
    return found


def rss_kib(pid):
    with open("/proc/%d/status" % pid) as file:
        return next(int(line.split()[1]) for line in file
                    if line.startswith("VmRSS:"))
