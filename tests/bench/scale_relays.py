#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""tests/bench/scale_relays.py: what an idle session costs other relays, and
what a request costs them beside many of them.

    --subjects haproxy,...      of those in subjects.py that are pairs of others
                                (default: all that are there, but the bare loop)
    --sessions N                at most (default: 9,000), fewer where the limit
                                of descriptors does not allow them
    --seconds S, --json FILE

Memory is that of all processes of both relays with the sessions, less that of
the same processes when there had been none, for each relay and session; all is
taken once. Runs in a network namespace of its own; scale_sessions.py does the
same for tunneld.
"""

import argparse
import sys
import time

import subjects
from guests import GUESTS
from place import Absent, shout
from relays import children, wait_for_port
from scale_sessions import measure_wrk
from scale_world import (Failed, Holders, ScaleWorld, add_options,
                         count_descriptors, descriptors, machine, memory,
                         run_inside, show_json, wait_until)

SUBJECTS = ("haproxy", "nginx", "ssh", "stunnel", *GUESTS)
# Descriptors that a relay needs for a session.
NEEDED = {"ssh": 1, "splice-loop": 6}
SPARE = 600


def options():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add_options(parser)
    parser.add_argument("--subjects", default=",".join(SUBJECTS))
    parser.add_argument("--sessions", type=int, default=9000)
    parser.add_argument("--seconds", type=int, default=2,
                        help="that requests are measured")
    args = parser.parse_args()
    args.subjects = args.subjects.split(",")
    return args


def look(subject):
    """KiB and descriptors of all its processes."""
    pids = [pid for process in subject.processes
            for pid in (process.pid, *children(process.pid))]
    return {"uss": sum(memory(pid)["uss"] for pid in pids),
            "descriptors": sum(map(count_descriptors, pids))}


def measure(world, name, args):
    subject = subjects.start_one(world, name, [args.build], 1)[0]
    subject.port = subject.ports["web"]
    wait_for_port(subject.port, subject.cpu)
    time.sleep(1)
    alone = measure_wrk(subject, args.seconds, False)
    wait_until("the service keeps sessions", 30,
               lambda: world.served()[0] == 0)
    count = min(args.sessions,
                (descriptors() - SPARE) // NEEDED.get(name, 2))
    before = look(subject)
    holders = Holders(subject.port, count)
    try:
        time.sleep(1)
        after = look(subject)
        served = world.served()[0]
        if served != count:
            raise Failed(f"{name}: the service has {served} sessions, "
                         f"not {count}")
        world.check_congestion()
        beside = measure_wrk(subject, args.seconds, False)
    finally:
        holders.close()
    subject.stop()
    wait_until("the service keeps sessions", 30,
               lambda: world.served()[0] == 0)
    return {"sessions": count, "us_alone": alone, "us_beside": beside,
            **{key: (after[key] - before[key]) / count / 2 for key in before}}


def run(args, directory):
    world = ScaleWorld(directory, args.congestion)
    results = {}
    try:
        world.start_services()
        for name in args.subjects:
            try:
                results[name] = measure(world, name, args)
            except Absent as error:
                shout(f"ABSENT: {name}: {error}")
    except Failed:
        print(world.said(), file=sys.stderr)
        raise
    finally:
        world.stop()
    return results


def main():
    args = options()
    results = run_inside(run, args)
    for name, one in results.items():
        print(f"{subjects.label(name):<24}{one['sessions']:>7} sessions, "
              f"{one['uss']:.2f} KiB and {one['descriptors']:.2f} descriptors "
              f"for each, in each relay; CPU us of both for a request: "
              f"{one['us_alone']:.1f}, beside them {one['us_beside']:.1f}",
              file=sys.stderr if args.json == "-" else sys.stdout)
    show_json(args, {"machine": machine(args), "relays": results})


if __name__ == "__main__":
    main()
