# SPDX-License-Identifier: ISC
"""What the data path costs, counted and not timed: system calls, copies and
allocations for each session, request and MiB, and how often an idle daemon
wakes. The bounds, and what the figures mean, stand in tests/guard/bounds.

TUNNELD_GUARD_WRITE  writes that table anew, from what is measured now
TUNNELD_GUARD_SHOW   a file to which all that is measured is added"""

import os

import pytest

import guard_bounds
import guard_watch
import harness
from guard_load import USERS, Links, World, still_netns

ROUNDS = 5              # the first of which ends what the load before began
WARM_UP = 2
# (load, units of a round)
LOADS = (("session", 30), ("crowd", USERS), ("request", 50), ("up", 16),
         ("down", 16))
LINKS = 4
IDLE = 50               # sessions that do nothing, of each
MINUTE = 60


@pytest.fixture(autouse=True)
def countable():
    """Skips are loud: nothing is guarded then."""
    if harness.SLOW:
        pytest.skip("NOTHING IS COUNTED UNDER SANITIZERS")
    with open(harness.TUNNELD, "rb") as file:
        binary = file.read()
    if b"__asan_" in binary or b"__ubsan_" in binary:
        pytest.skip("NOTHING IS COUNTED UNDER SANITIZERS")
    guard_watch.need_ptrace()


@pytest.fixture
def library(tmp_path):
    return guard_watch.build_preload(str(tmp_path))


def judge(section, measured):
    if os.environ.get("TUNNELD_GUARD_SHOW"):
        with open(os.environ["TUNNELD_GUARD_SHOW"], "a") as file:
            file.writelines("%s: %s: %.2f\n" % (section, figure, value)
                            for figure, value in measured.items())
    if os.environ.get("TUNNELD_GUARD_WRITE"):
        guard_bounds.write(section, measured)
    return guard_bounds.judge(section, measured, guard_bounds.read())


def run_loads(world, loads):
    """{end: {figure: value}}"""
    found = {"entry": {}, "exit": {}}
    for name, units in LOADS:
        rounds = [world.round(loads[name], units) for _ in range(ROUNDS)]
        for end, figures in found.items():
            figures.update(("%s %s" % (name, what), value) for what, value in
                           guard_bounds.least(
                               [one[end] for one in rounds[1:]]).items())
    return found


def measure_loads(world):
    """The same, with what sessions leave behind."""
    loads = {"session": world.sessions, "crowd": world.crowds,
             "request": world.requests, "up": world.up, "down": world.down}
    for _ in range(WARM_UP):
        for name, units in LOADS:
            with world.steps.hold():
                loads[name](units)
    before = world.kept()
    world.trace()
    found = run_loads(world, loads)
    after = world.kept()
    sessions = ROUNDS * sum(units for name, units in LOADS
                            if name in ("session", "crowd"))
    for end, figures in found.items():
        figures["session kept"] = max(0.0, (after[end] - before[end]) /
                                      sessions)
    return found


def check(mode, security, found, prefix=""):
    complaints = []
    for end, figures in found.items():
        complaints += judge("%s%s %s %s" % (prefix, mode, security, end),
                            figures)
    assert not complaints, "\n" + "\n".join(complaints)


@pytest.mark.both_modes
def test_work(pair_of, security, mode, netns, library, closing):
    """Of sessions, requests and bulk."""
    pair = pair_of(security, [harness.reverse("web", "127.0.0.1:1")],
                   master=False, link={"pool": USERS + 4})
    world = closing(World(pair, still_netns(netns), library))
    world.start()
    check(mode, security, measure_loads(world))


@pytest.mark.both_modes
def test_idle(daemon, security, mode, netns, library, closing):
    """Of having nothing to do: many links and sessions, each idle."""
    links = closing(Links(daemon, LINKS, still_netns(netns), library,
                          mode=mode, security=security))
    links.start()
    found = {end: {"idle " + what: value for what, value in figures.items()}
             for end, figures in links.measure(IDLE, MINUTE).items()}
    check(mode, security, found, "idle ")
