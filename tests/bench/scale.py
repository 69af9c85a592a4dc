# SPDX-License-Identifier: ISC
"""What many sessions and links cost, as a part of the bench: runs the scripts
scale_*.py, each of which stands for itself, and makes tables and goals of what
they wrote."""

import json
import pathlib
import statistics
import subprocess
import sys
import tempfile

import scale_links
import scale_sessions
from place import Failed, shout
from subjects import label

HERE = pathlib.Path(__file__).resolve().parent
# Name: script and its words; for --quick.
PARTS = {"memory": ("scale_sessions.py", "memory"),
         "cost": ("scale_sessions.py", "cost"),
         "links": ("scale_links.py",),
         "relays": ("scale_relays.py",)}
QUICK = {"memory": ("--kinds", "mux-plain", "--seconds", "2", "--sessions",
                    "9000", "--settle", "6"),
         "cost": ("--kinds", "mux-plain", "--rounds", "1", "--seconds", "1",
                  "--levels", "10,9000"),
         # Without heartbeats: they come every 10 seconds.
         "links": ("--kinds", "bare-tls", "--returns", "1", "--seconds", "0"),
         "relays": ("--subjects", "haproxy", "--sessions", "3000",
                    "--seconds", "1")}


def run_part(name, build, congestion, args):
    """What its script wrote."""
    script, *words = PARTS[name]
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        out = pathlib.Path(directory) / "json"
        done = subprocess.run(
            [sys.executable, "-B", HERE / script, *words, "--build", build,
             "--congestion", congestion, "--json", out,
             *(["--preload"] if args.preload else []),
             *(QUICK[name] if args.quick else [])],
            capture_output=True, text=True, check=False, timeout=1800)
        if done.returncode != 0 or not out.exists():
            raise Failed(f"{script}: {done.stdout[-500:]}{done.stderr[-2000:]}")
        return json.loads(out.read_text(encoding="utf-8"))


def tell_memory(found, goals):
    rows = []
    for kind, one in found.items():
        for end, daemon in one["daemons"].items():
            # What the process takes in any case, and what its threads do.
            idle = daemon["cpu_ms_per_s"] - daemon["cpu_ms_per_s_without"]
            rows.append([f"tunneld {kind} {end}", str(one["sessions"]),
                         daemon["uss"], daemon["descriptors"], idle])
            goals.append([f"KiB of an idle session, {kind} {end}",
                          daemon["uss"], "<=", scale_sessions.GOALS[kind]])
            goals.append([f"CPU ms/s of idle sessions, {kind} {end}", idle,
                          "<=", scale_sessions.IDLE_CPU])
    return [["Idle sessions: what each costs a daemon; CPU of all of them in "
             "ms/s", ["sessions", "KiB", "fds", "ms/s"], rows]]


def tell_relays(found, _):
    return [["Idle sessions: what each costs one of two other relays; CPU us "
             "of both for a\nrequest without them and beside them",
             ["sessions", "KiB", "fds", "us", "beside", "x"],
             [[label(name), str(one["sessions"]), one["uss"],
               one["descriptors"], one["us_alone"], one["us_beside"],
               one["us_beside"] / one["us_alone"]]
              for name, one in found.items()]]]


def tell_cost(found, goals):
    """A table for each kind: not all have the same levels."""
    tables = []
    for kind, levels in found.items():
        rows = []
        for what in ("keepalive", "new", "spread"):
            values = [statistics.median(one[what])
                      for one in levels.values()]
            most = max(values) / min(values)
            rows.append([what, *values, most])
            # More sessions that are in use do not fit the processor's cache:
            # told, but no goal.
            if what != "spread":
                goals.append([f"most / least of these, {kind} {what}", most,
                              "<=", scale_sessions.FLAT])
        tables.append([f"CPU us of both daemons for a request, {kind}, beside "
                       "open sessions",
                       [*(f"{int(level):,}" for level in levels), "x"], rows])
    return tables


def tell_links(found, _):
    rows = []
    for kind, one in found.items():
        for end, cost in one["memory"].items():
            rows.append([f"{kind} {end}", str(one["lanes"]), str(one["pool"]),
                         cost["uss"], cost["descriptors"],
                         one["cpu_s_per_minute"][end]])
    count = max(one["links"] for one in found.values())
    without = any(row[-1] is None for row in rows)
    return [[f"{count:,} idle links: each KiB and fds; CPU s a minute of all" +
             (" (NOT TAKEN)" if without else ""),
             ["lanes", "pool", "KiB", "fds", "CPU s"], rows]]


def tell_return(kind, one, goals):
    returns = one["returns"]

    def middle(name):
        return statistics.median(back[name] for back in returns)

    slowest = max(back["links"] for back in returns)
    overflows, drops = scale_links.lost(returns)
    share = scale_links.early(one, returns)
    goals += [[f"seconds to {one['links']:,} links, {kind}", slowest, "<=",
               scale_links.BACK],
              [f"overflows of the accept queue, {kind}", overflows, "<=", 0],
              [f"other drops of connections, {kind}", drops, "<=", 0]]
    if share is not None:
        goals.append([f"lanes, channels there by 99 % of links, {kind}",
                      share[0], "<=", scale_links.EARLY])
    return [kind, middle("links"), slowest, middle("cpu_links"),
            "-" if share is None else f"{share[0]:.0%} {share[1]:.0%}",
            middle("all"), middle("cpu_all"), f"{overflows}+{drops}"]


def tell_returns(found, goals):
    return [["The server returns: seconds to the last link, its CPU; lanes and "
             "channels there\nby 99 % of the links, and by the last; seconds to "
             "the last of these, its CPU;\nwhat was lost: overflows of the "
             "accept queue + other drops",
             ["links s", "slowest", "CPU s", "others", "all s", "CPU s",
              "lost"],
             [tell_return(kind, one, goals) for kind, one in found.items()
              if one["returns"]]]]


TELLERS = (("memory", tell_memory), ("relays", tell_relays),
           ("cost", tell_cost), ("links", tell_links),
           ("links", tell_returns))


def tell(parts, failed=None, congestion=None):
    """The shape that the bench keeps: what was found, what failed, tables,
    goals."""
    tables, goals = [], []
    for name, teller in TELLERS:
        if name in parts:
            tables += teller(parts[name], goals)
    return {**parts, "failed": failed or {}, "congestion": congestion,
            "tables": tables, "goals": goals}


def run(build, congestion, args, progress):
    """A part that fails has no figures; the others, processes of their own,
    keep theirs."""
    parts, failed = {}, {}
    for name in PARTS:
        progress(f"{congestion}: {name}")
        try:
            found = run_part(name, build, congestion, args)
            if found["machine"]["congestion"] != congestion:
                raise Failed(f"not under {congestion}")
            parts[name] = found[name]
        except (Failed, subprocess.SubprocessError) as error:
            failed[name] = str(error)
            shout(f"FAILED: {name}: {error}")
    return tell(parts, failed, congestion)
