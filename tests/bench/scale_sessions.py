#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""tests/bench/scale_sessions.py: what idle sessions cost, and whether a
request costs more where many are open.

    scale_sessions.py memory    memory, descriptors and CPU of idle sessions,
                                as many as RLIMIT_NOFILE allows
    scale_sessions.py cost      CPU per request beside 10, 100, 1,000 and 9,000
                                open sessions

    --build DIR                 the tunneld of DIR
    --kinds mux-plain,...       of mux-plain, mux-tls, direct-plain, direct-tls
    --sessions N                at most, instead of as many as there can be
    --levels 10,100             of cost, --rounds and --seconds likewise
    --json FILE                 all figures, for programs (-: instead of text)
    --check                     fails where a goal is missed

Runs in a network namespace of its own. A daemon's memory is that of its
process with the sessions, less that of the same process when its link was up
and there had been none; what sockets take is the kernel's, of the whole chain
(user, two daemons, service), and told apart. All of that is taken once; cost is
the median of --rounds. The users are split over processes; nginx is the
service. CPU is what the scheduler counted, of both daemons, all threads.
"""

import argparse
import re
import statistics
import subprocess
import sys
import time

from place import need
from scale_world import (Daemon, Failed, Holders, ScaleWorld, add_options,
                         count_descriptors, cpu, daemon_config, descriptors,
                         kernel_memory, machine, memory, run_inside,
                         show_json, wait_until)

KINDS = ("mux-plain", "mux-tls", "direct-plain", "direct-tls")
# KiB of its own for each idle session, each daemon.
GOALS = {"mux-plain": 4, "direct-plain": 4, "mux-tls": 8, "direct-tls": 24}
FLAT = 1.15         # the dearest level by the cheapest
RESERVE = 1280      # descriptors that tunneld keeps from users
SPARE = 320         # those that are not sessions': most of it is the pool's
IDLE_CPU = 0.5      # milliseconds in a second: what cannot be told from none


def options():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add_options(parser)
    parser.add_argument("what", choices=("memory", "cost"))
    parser.add_argument("--kinds")
    parser.add_argument("--sessions", type=int)
    parser.add_argument("--levels", default="10,100,1000,9000")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int,
                        help="each measure takes (cost: 2, memory: 10)")
    parser.add_argument("--settle", type=float, default=14.0,
                        help="seconds until all is written down, and nothing "
                        "is new (memory)")
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    args.kinds = (args.kinds or
                  (",".join(KINDS) if args.what == "memory"
                   else "mux-plain,direct-plain")).split(",")
    args.levels = [int(one) for one in args.levels.split(",")]
    return args


class Pair:
    """Two daemons; users come to the one that is dialled."""

    def __init__(self, world, label, kind, build):
        self.world, self.kind = world, kind
        mode, security = kind.split("-")
        gateway, self.port = world.take_port(), world.take_port()
        secret = world.write_secret(f"{label}.secret")
        self.daemons = {}
        for end, peer, head, connect, tunnel in (
                ("edge", "home",
                 f'gateway = {{ listen = [ "127.0.0.1:{gateway}" ]; }};\n', "",
                 f'listen = "127.0.0.1:{self.port}"'),
                ("home", "edge", "", f'connect = "127.0.0.1:{gateway}"; ',
                 f'connect = "127.0.0.1:{world.services["web"]}"')):
            config = daemon_config(world, f"{label}-{end}") + head + (
                f'peers = ( {{ name = "{label}-{peer}"; '
                f'security = "{security}"; mode = "{mode}"; {connect}'
                f'max_channels = 100000; secret_file = "{secret}"; }} );\n'
                f'tunnels = ( {{ name = "web"; peer = "{label}-{peer}"; '
                f'max_held = 65536; {tunnel}; }} );\n')
            self.daemons[end] = Daemon(world, f"{label}-{end}", build, config)
            time.sleep(0.2)
        wait_until(f"{label}: no link", 20, self.is_up)
        time.sleep(1)   # lanes and pool

    def is_up(self):
        try:
            status = self.daemons["edge"].control("status")
        except Failed:
            return False
        return '"up"' in str(status).replace("'", '"')

    def cpu(self):
        return sum(cpu(daemon.pid) for daemon in self.daemons.values())

    def look(self):
        return {end: {**memory(daemon.pid),
                      "descriptors": count_descriptors(daemon.pid)}
                for end, daemon in self.daemons.items()}

    def stop(self):
        for daemon in self.daemons.values():
            daemon.kill()


def most_sessions(kind):
    """What the limit allows a daemon: mux needs a descriptor for a session,
    direct two; and users are not accepted any more where a quarter of them
    is left, or RESERVE."""
    reserve = min(descriptors() // 4, RESERVE)
    return (descriptors() - reserve - SPARE) // (
        1 if kind.startswith("mux") else 2)


# --- memory -------------------------------------------------------------------

def idle_cpu(pair, seconds):
    """Milliseconds of each daemon in a second."""
    before = {end: cpu(one.pid) for end, one in pair.daemons.items()}
    time.sleep(seconds)
    return {end: (cpu(one.pid) - before[end]) / seconds * 1000
            for end, one in pair.daemons.items()}


def check_open(pair, count):
    """The service says it, and both daemons."""
    served = pair.world.served()[0]
    if served != count:
        raise Failed(f"{pair.kind}: the service has {served} sessions, "
                     f"not {count}")
    for end, daemon in pair.daemons.items():
        tunnel = daemon.control("tunnels")[0]
        if tunnel["sessions"] != count:
            raise Failed(f"{pair.kind}: {end} has {tunnel['sessions']} "
                         f"sessions, not {count}")


def measure_memory(world, kind, args):
    most = most_sessions(kind)
    count = min(args.sessions or most, most)
    seconds = args.seconds or 10
    pair = Pair(world, kind, kind, args.build)
    rest = idle_cpu(pair, seconds)
    before, kernel = pair.look(), kernel_memory()
    # A user of his own sees first how long an answer is.
    holders = Holders(pair.port, count)
    try:
        time.sleep(args.settle)
        check_open(pair, count)
        world.check_congestion()
        after, full = pair.look(), kernel_memory()
        idle = idle_cpu(pair, seconds)
        check_open(pair, count)
    finally:
        holders.close()
    result = {"sessions": count, "daemons": {},
              "kernel_kib": {key: (full[key] - kernel[key]) / count
                             for key in full}}
    for end, now in after.items():
        result["daemons"][end] = {
            **{key: (value - before[end][key]) / count
               for key, value in now.items()},
            "before": before[end], "after": now,
            "cpu_ms_per_s": idle[end], "cpu_ms_per_s_without": rest[end]}
    pair.stop()
    wait_until("the service keeps sessions", 30,
               lambda: world.served()[0] == 0)
    return result


def show_memory(results):
    missed = []
    print(f"{'idle sessions, each daemon':<27}{'sessions':>9}{'PSS':>7}"
          f"{'own':>7}{'heap':>7}{'KiB':>4}{'fd':>6}{'CPU ms/s':>10}"
          f"{'(without)':>10}  goal")
    for kind, result in results.items():
        for end, one in result["daemons"].items():
            good = one["uss"] <= GOALS[kind]
            quiet = one["cpu_ms_per_s"] - one["cpu_ms_per_s_without"] \
                <= IDLE_CPU
            if not good:
                missed.append(f"{kind} {end}: memory")
            if not quiet:
                missed.append(f"{kind} {end}: CPU")
            print(f"  {kind + ' ' + end:<25}{result['sessions']:>9}"
                  f"{one['pss']:>7.2f}{one['uss']:>7.2f}{one['heap']:>7.2f}"
                  f"    {one['descriptors']:>6.2f}"
                  f"{one['cpu_ms_per_s']:>10.2f}"
                  f"{one['cpu_ms_per_s_without']:>10.2f}  <= {GOALS[kind]}"
                  f"{'' if good and quiet else '  MISSED'}")
        kernel = result["kernel_kib"]
        print(f"  {kind + ', kernel, whole chain':<34} slabs "
              f"{kernel['slab']:.1f} KiB, TCP buffers "
              f"{kernel['buffers']:.1f} KiB a session")
    return missed


# --- cost ---------------------------------------------------------------------

USERS = 10
BURST = 128


def measure_wrk(pair, seconds, close):
    """Microseconds of both daemons for a request."""
    before, spent = pair.world.served()[1], pair.cpu()
    run = subprocess.run(
        [need("wrk"), "-t1", f"-c{USERS}", f"-d{seconds}s", "--timeout", "10s",
         *(["-H", "Connection: close"] if close else []),
         f"http://127.0.0.1:{pair.port}/"],
        stdout=subprocess.PIPE, text=True, check=True, timeout=60)
    spent = pair.cpu() - spent
    answered = pair.world.served()[1] - before - 1
    count = int(re.search(r"(\d+) requests in", run.stdout)[1])
    errors = re.search(r"Socket errors:.*|Non-2xx.*", run.stdout)
    if count == 0 or errors or not count <= answered <= count + 3 * USERS:
        raise Failed(f"wrk counts {count}, nginx {answered}; "
                     f"{errors[0] if errors else 'no errors'}")
    return spent / count * 1e6


def measure_spread(pair, holders):
    """The same, over all that are open, one after the other."""
    time.sleep(0.3)     # wrk leaves with requests under way
    each = max(20000 // len(holders.processes), 1)
    before, spent = pair.world.served()[1], pair.cpu()
    holders.tell(f"ask {each}")
    spent = pair.cpu() - spent
    count = each * len(holders.processes)
    answered = pair.world.served()[1] - before - 1
    if answered != count:
        raise Failed(f"{count} were asked, nginx answered {answered}")
    return spent / count * 1e6


def measure_cost(world, kind, args):
    """A pair for each level, all at once, in turn: what the machine does
    besides comes to all of them."""
    levels = sorted({min(level, most_sessions(kind)) for level in args.levels})
    pairs, rounds = {}, {level: {"keepalive": [], "new": [], "spread": []}
                         for level in levels}
    try:
        for level in levels:
            pair = Pair(world, f"{kind}-{level}", kind, args.build)
            # The same burst for each, so that their pools have grown alike.
            Holders(pair.port, BURST).close()
            pairs[level] = (pair, Holders(pair.port, level))
        wait_until("those of the burst stay", 30,
                   lambda: world.served()[0] <= sum(levels))
        if world.served()[0] != sum(levels):
            raise Failed(f"the service has {world.served()[0]} sessions")
        world.check_congestion()
        for _ in range(args.rounds):
            for level, (pair, holders) in pairs.items():
                values = rounds[level]
                values["keepalive"].append(
                    measure_wrk(pair, args.seconds or 2, False))
                values["new"].append(
                    measure_wrk(pair, args.seconds or 2, True))
                values["spread"].append(measure_spread(pair, holders))
        if world.served()[0] != sum(levels):
            raise Failed("sessions were lost meanwhile")
    finally:
        for pair, holders in pairs.values():
            holders.close()
            pair.stop()
    wait_until("the service keeps sessions", 30,
               lambda: world.served()[0] == 0)
    return rounds


def show_cost(results):
    missed = []
    print(f"\n{'CPU of both daemons, us/request':<38}"
          "  beside so many open sessions (median)")
    for kind, rounds in results.items():
        for name in ("keepalive", "new", "spread"):
            values = {level: statistics.median(one[name])
                      for level, one in rounds.items()}
            most = max(values.values()) / min(values.values())
            # More sessions that are in use do not fit the processor's cache:
            # told, but no goal.
            good = most <= FLAT or name == "spread"
            if not good:
                missed.append(f"{kind} {name}: {most:.2f}")
            print(f"  {kind + ' ' + name:<26}" + "".join(
                f"{level:>7}:{value:7.2f}" for level, value in values.items())
                + f"   x {most:.2f}" + ("" if good else "  MISSED"))
    return missed


def run(args, directory):
    world = ScaleWorld(directory, args.congestion)
    results = {}
    try:
        world.start_services()
        for kind in args.kinds:
            results[kind] = measure_memory(world, kind, args) \
                if args.what == "memory" else measure_cost(world, kind, args)
    except Failed:
        for log in sorted(world.directory.glob("*.log")):
            print(log.read_text(errors="replace")[-1500:], file=sys.stderr)
        raise
    finally:
        world.stop()
    return results


def main():
    args = options()
    results = run_inside(run, args)
    if args.json == "-":
        sys.stdout, text = sys.stderr, sys.stdout
    missed = show_memory(results) if args.what == "memory" \
        else show_cost(results)
    if args.json == "-":
        sys.stdout = text
    show_json(args, {"machine": machine(args), args.what: results,
                     "missed": missed})
    sys.exit(1 if missed and args.check else 0)


if __name__ == "__main__":
    main()
