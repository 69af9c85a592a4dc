#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""tests/bench/scale_links.py: what 1,000 links cost, and how soon they are
back.

One process (the spokes) dials another one (the hub) under 1,000 names, with
reconnect.max = 1. Measured for each kind of link:

    memory      of each daemon for an idle link, less that of the same
                configuration before its first link; its pool and lanes are told
    heartbeats  CPU of all idle links, taken once, for --seconds (a multiple of
                10: that often each link has a heartbeat; 0: not taken), and
                told for a minute
    return      the hub is killed and started again: seconds from its first
                listening to the last link up, to the last lane or channel, how
                many of these were there by 99 % of the links and by the last,
                the hub's CPU meanwhile, overflows of its accept queue, and
                other drops; then the same when the spokes are killed and
                started again, once

    --links N --build DIR --kinds bare-tls,...  (security plain or tls; bare: no
                                tunnels; mux: a tunnel with its lanes; direct: a
                                tunnel with its pool)
    --returns N                 how often the hub comes back
    --down S                    seconds that it is away
    --json FILE, --check

Runs in a network namespace of its own; fails where a link is missing.
"""

import argparse
import statistics
import sys
import time

from scale_world import (Daemon, Failed, ScaleWorld, add_options,
                         count_descriptors, cpu, daemon_config, machine,
                         memory, netstat, run_inside, show_json, wait_until)

KINDS = ("bare-plain", "bare-tls", "mux-plain", "mux-tls", "direct-plain",
         "direct-tls")
LANES, POOL = 2, 2      # as they are by default
BACK = 5.0              # seconds
# The kernel counts an overflow of the accept queue as a drop, too.
LOST = ("ListenOverflows", "ListenDrops")
EARLY = 0.1     # of lanes and channels, there by the 99th of 100 links
HEARTBEAT = 10  # seconds between two, by default
FIRST_PORT = 21000


def options():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add_options(parser)
    parser.add_argument("--links", type=int, default=1000)
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--returns", type=int, default=3)
    parser.add_argument("--down", type=float, default=3)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    if args.seconds % HEARTBEAT:
        parser.error(f"--seconds: heartbeats come every {HEARTBEAT} seconds: a "
                     "multiple of these, or 0 for none")
    args.kinds = args.kinds.split(",")
    return args


class Star:
    """The hub and its spokes."""

    def __init__(self, world, kind, args):
        self.world, self.kind, self.links = world, kind, args.links
        self.mode, security = kind.split("-")
        self.port = world.take_port()
        secret = world.write_secret(f"{kind}.secret")
        # Who dials attaches lanes and channels, for the hub's users.
        self.connections = {"bare": 1, "mux": 1 + LANES,
                            "direct": 1 + POOL}[self.mode] * args.links
        common = f'security = "{security}"; secret_file = "{secret}"; '
        if self.mode != "bare":
            common += f'mode = "{self.mode}"; '
        numbers = [f"{i:04}" for i in range(args.links)]
        hub = daemon_config(
            world, f"{kind}-hub", "notice", "max_handshakes = 1024;") + (
            f'gateway = {{ listen = [ "127.0.0.1:{self.port}" ]; }};\n'
            "peers = (" + ",\n".join(
                f'{{ name = "spoke{n}"; {common} }}' for n in numbers) +
            " );\n" + self.tunnels(numbers, "spoke", "listen"))
        spokes = daemon_config(world, f"{kind}-spokes", "notice") + (
            "peers = (" + ",\n".join(
                f'{{ name = "hub{n}"; as = "spoke{n}"; {common}'
                f'connect = "127.0.0.1:{self.port}"; '
                "reconnect = { max = 1.0; }; }" for n in numbers) + " );\n" +
            self.tunnels(numbers, "hub", "connect"))
        self.hub = Daemon(world, f"{kind}-hub", args.build, hub)
        wait_until("the hub listens", 20,
                   lambda: self.hub.said(b"gateway: listening"))
        time.sleep(0.5)
        self.before = {"hub": memory(self.hub.pid)}
        self.fds = {"hub": count_descriptors(self.hub.pid)}
        # They have no link yet: nobody listens there.
        self.hub.kill()
        self.spokes = Daemon(world, f"{kind}-spokes", args.build, spokes)
        time.sleep(2)
        self.before["spokes"] = memory(self.spokes.pid)
        self.fds["spokes"] = count_descriptors(self.spokes.pid)

    def tunnels(self, numbers, peer, end):
        if self.mode == "bare":
            return ""
        return "tunnels = (" + ",\n".join(
            f'{{ name = "t"; peer = "{peer}{n}"; {end} = "127.0.0.1:'
            f'{FIRST_PORT + int(n) if end == "listen" else 9}"; }}'
            for n in numbers) + " );\n"

    def bring_back(self):
        """Starts the hub; what happens from its listening until all is
        there."""
        mark = self.hub.log.stat().st_size
        lost = netstat(*LOST)
        self.hub.start()
        wait_until("the hub listens", 20,
                   lambda: self.hub.said(b"gateway: listening", mark))
        return self.watch(mark, lost)

    def restart_spokes(self):
        """The same from the start of the spokes, all at once."""
        self.spokes.kill()
        wait_until("the hub misses them", 20, lambda: count_descriptors(
            self.hub.pid) <= self.fds["hub"] + 5)
        mark = self.hub.log.stat().st_size
        lost = netstat(*LOST)
        said = self.spokes.log.stat().st_size
        self.spokes.start()
        wait_until("the spokes start", 20,
                   lambda: self.spokes.said(b"\n", said))
        return self.watch(mark, lost)

    def watch(self, mark, lost):
        base = self.fds["hub"]
        begin, spent = time.monotonic(), cpu(self.hub.pid)
        times, steps = {}, []
        while "all" not in times:
            now = time.monotonic() - begin
            ups = self.hub.said(b": link up, from", mark)
            fds = count_descriptors(self.hub.pid) - base
            steps.append((round(now, 3), ups, fds))
            if ups >= self.links and "links" not in times:
                times["links"] = now
                times["cpu_links"] = cpu(self.hub.pid) - spent
                times["others_at_links"] = fds - ups
            # Strangers are there for a moment; a few pools are refilled.
            if "links" in times and fds >= self.connections:
                times["all"] = now
                times["cpu_all"] = cpu(self.hub.pid) - spent
            if now > 60:
                raise Failed(f"{self.kind}: after 60 s {ups} links are up, "
                             f"{fds} of {self.connections} connections")
            time.sleep(0.02)
        gained = netstat(*LOST)
        times.update({name: gained[name] - lost[name] for name in LOST})
        times["downs"] = self.hub.said(b": link down", mark)
        times["warnings"] = self.hub.said(b" warning: ", mark)
        times["steps"] = steps
        return times

    def check(self):
        """What each end says itself; lanes and pool too."""
        for daemon in (self.hub, self.spokes):
            peers = daemon.control("peers")
            up = [one for one in peers if one["state"] == "up"]
            if len(up) != self.links:
                raise Failed(f"{daemon.name}: {len(up)} links are up, "
                             f"not {self.links}")
        fds = count_descriptors(self.hub.pid) - self.fds["hub"]
        if fds != self.connections:
            raise Failed(f"{self.kind}: the hub has {fds} connections more, "
                         f"not {self.connections}")

    def look(self):
        result = {}
        for end, daemon in (("hub", self.hub), ("spokes", self.spokes)):
            now = memory(daemon.pid)
            result[end] = {key: (now[key] - self.before[end][key]) / self.links
                           for key in now}
            result[end]["before"] = self.before[end]
            result[end]["descriptors"] = (count_descriptors(daemon.pid) -
                                          self.fds[end]) / self.links
        return result

    def heartbeats(self, seconds):
        """CPU seconds in a minute; None where it is not taken."""
        if not seconds:
            return {"hub": None, "spokes": None}
        ends = {"hub": self.hub, "spokes": self.spokes}
        before = {end: cpu(one.pid) for end, one in ends.items()}
        time.sleep(seconds)
        return {end: (cpu(one.pid) - before[end]) * 60 / seconds
                for end, one in ends.items()}

    def stop(self):
        for daemon in (self.hub, self.spokes):
            if daemon.process.poll() is None:
                daemon.kill()


def measure(world, kind, args):
    star = Star(world, kind, args)
    returns = []
    try:
        star.bring_back()   # the first time: not a return
        time.sleep(3)
        star.check()
        world.check_congestion()
        result = {"links": args.links,
                  "others": star.connections - args.links,
                  "memory": star.look(),
                  "lanes": LANES if star.mode == "mux" else 0,
                  "pool": POOL if star.mode == "direct" else 0,
                  "heartbeat_seconds": args.seconds,
                  "cpu_s_per_minute": star.heartbeats(args.seconds)}
        star.check()
        for _ in range(args.returns):
            star.hub.kill()
            time.sleep(args.down)
            returns.append(star.bring_back())
            time.sleep(2)
            star.check()
        result["start"] = star.restart_spokes()
        time.sleep(2)
        star.check()
    finally:
        star.stop()
    result["returns"] = returns
    return result


def lost(returns):
    """Overflows of the accept queue, and what was dropped but for these."""
    overflows, drops = (sum(one[name] for one in returns) for name in LOST)
    return overflows, drops - overflows


def early(result, returns):
    """The share of lanes and channels that were there by the 99th of 100 links,
    at worst, and by the last; None where links have none. Goal is the first:
    the last links come when their own timers let them, and nobody waits for
    these."""
    if not result["others"]:
        return None

    def share(links):
        return max(next(fds - ups for _, ups, fds in one["steps"]
                        if ups >= links) for one in returns) / result["others"]

    return share(0.99 * result["links"]), share(result["links"])


def show_return(kind, result, returns, missed):
    slowest = max(one["links"] for one in returns)
    overflows, drops = lost(returns)
    share = early(result, returns) or (0, 0)
    good = slowest <= BACK and not overflows and not drops and \
        share[0] <= EARLY
    if not good:
        missed.append(f"{kind}: return")

    def median(name):
        return statistics.median(one[name] for one in returns)

    print(f"  {kind:<13} links {median('links'):5.2f} s (slowest "
          f"{slowest:.2f}), hub's CPU {median('cpu_links'):.2f} s, others "
          f"there by then {median('others_at_links'):.0f} of "
          f"{result['others']} (by 99 % of links {share[0]:.0%}); all "
          f"{median('all'):.2f} s, {median('cpu_all'):.2f} s; {overflows} "
          f"overflows of the queue and {drops} other drops, links lost again {median('downs'):.0f}"
          f"{'' if good else '  MISSED'}")


def show_cpu(seconds):
    return "not taken" if seconds is None else f"{seconds:.3f}"


def show(results):
    missed = []
    print(f"{'idle links':<22}{'links':>6}{'lanes':>6}{'pool':>5}{'PSS':>8}"
          f"{'own':>8}{'heap':>8}{'KiB':>4}{'fd':>5}{'CPU s/min of all':>18}")
    for kind, result in results.items():
        for end, one in result["memory"].items():
            print(f"  {kind + ' ' + end:<20}{result['links']:>6}"
                  f"{result['lanes']:>6}{result['pool']:>5}{one['pss']:>8.2f}"
                  f"{one['uss']:>8.2f}{one['heap']:>8.2f}"
                  f"    {one['descriptors']:>5.2f}"
                  f"{show_cpu(result['cpu_s_per_minute'][end]):>18}")
    print(f"\nback after the hub's return (goal: {BACK:g} s, nothing lost, "
          f"of others {EARLY:.0%} at most by 99 % of the links)")
    for kind, result in results.items():
        if result["returns"]:
            show_return(kind, result, result["returns"], missed)
    print("\nall at once, from the start of the spokes")
    for kind, result in results.items():
        show_return(kind, result, [result["start"]], missed)
    return missed


def run(args, directory):
    world = ScaleWorld(directory, args.congestion)
    results = {}
    try:
        for kind in args.kinds:
            results[kind] = measure(world, kind, args)
    except Failed:
        for log in sorted(world.directory.glob("*.log")):
            print(log.read_text(errors="replace")[-1500:], file=sys.stderr)
        raise
    finally:
        if args.keep_log:
            with open(args.keep_log, "wb") as out:
                for log in sorted(world.directory.glob("*.log")):
                    out.write(log.read_bytes())
        world.stop()
    return results


def main():
    args = options()
    results = run_inside(run, args)
    if args.json == "-":
        sys.stdout, text = sys.stderr, sys.stdout
    missed = show(results)
    if args.json == "-":
        sys.stdout = text
    show_json(args, {"machine": machine(args), "links": results,
                     "missed": missed})
    sys.exit(1 if missed and args.check else 0)


if __name__ == "__main__":
    main()
