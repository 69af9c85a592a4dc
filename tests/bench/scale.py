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
QUICK = {"memory": ("--kinds", "mux-plain", "--seconds", "2"),
         "cost": ("--kinds", "mux-plain", "--rounds", "1", "--seconds", "1",
                  "--levels", "10,9000"),
         "links": ("--kinds", "bare-tls", "--returns", "1", "--seconds", "3"),
         "relays": ("--subjects", "haproxy", "--sessions", "3000", "--seconds", "1")}


def run_part(name, build, congestion, quick):
    script, *words = PARTS[name]
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        out = pathlib.Path(directory) / "json"
        done = subprocess.run(
            [sys.executable, "-B", HERE / script, *words, "--build", build,
             "--congestion", congestion, "--json", out,
             *(QUICK[name] if quick else [])],
            capture_output=True, text=True, check=False, timeout=1800)
        if done.returncode != 0 or not out.exists():
            raise Failed(f"{script}: {done.stdout[-500:]}{done.stderr[-2000:]}")
        return json.loads(out.read_text(encoding="utf-8"))[name]


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
    return ["Idle sessions: what each costs a daemon; CPU of all of them in ms/s",
            ["sessions", "KiB", "fds", "ms/s"], rows]


def tell_relays(found, _):
    return ["Idle sessions: what each costs one of two other relays; CPU us of "
            "both for a\nrequest without them and beside them",
            ["sessions", "KiB", "fds", "us", "beside", "x"],
            [[label(name), str(one["sessions"]), one["uss"],
              one["descriptors"], one["us_alone"], one["us_beside"],
              one["us_beside"] / one["us_alone"]]
             for name, one in found.items()]]


def tell_cost(found, goals):
    rows, heads = [], []
    for kind, levels in found.items():
        heads = [f"{int(level):,}" for level in levels]
        for what in ("keepalive", "new", "spread"):
            values = [statistics.median(one[what])
                      for one in levels.values()]
            most = max(values) / min(values)
            rows.append([f"{kind} {what}", *values, most])
            if what != "spread":
                goals.append([f"most / least of these, {kind} {what}", most,
                              "<=", scale_sessions.FLAT])
    return ["CPU us of both daemons for a request, beside open sessions",
            [*heads, "x"], rows]


def tell_links(found, _):
    rows = []
    for kind, one in found.items():
        for end, cost in one["memory"].items():
            rows.append([f"{kind} {end}", str(one["lanes"]), str(one["pool"]),
                         cost["uss"], cost["descriptors"],
                         one["cpu_s_per_minute"][end]])
    count = max(one["links"] for one in found.values())
    return [f"{count:,} idle links: each KiB and fds; CPU s a minute of all",
            ["lanes", "pool", "KiB", "fds", "CPU s"], rows]


def tell_returns(found, goals):
    rows = []
    for kind, one in found.items():
        if not one["returns"]:
            continue

        def middle(name, returns=one["returns"]):
            return statistics.median(back[name] for back in returns)

        slowest = max(back["links"] for back in one["returns"])
        lost = sum(back[name] for back in one["returns"]
                   for name in scale_links.LOST)
        rows.append([kind, middle("links"), slowest, middle("cpu_links"),
                     middle("all"), middle("cpu_all"), str(lost)])
        goals.append([f"seconds to {one['links']:,} links, {kind}", slowest,
                      "<=", scale_links.BACK])
        goals.append([f"lost in the accept queue, {kind}", lost, "<=", 0])
    return ["The server returns: seconds to the last link, its CPU; to the last "
            "lane",
            ["links s", "slowest", "CPU s", "all s", "CPU s", "lost"], rows]


TELLERS = (("memory", tell_memory), ("relays", tell_relays),
           ("cost", tell_cost), ("links", tell_links),
           ("links", tell_returns))


def tell(parts, failed=None):
    """The shape that the bench keeps: what was found, what failed, tables,
    goals."""
    tables, goals = [], []
    for name, teller in TELLERS:
        if name in parts:
            tables.append(teller(parts[name], goals))
    return {**parts, "failed": failed or {}, "tables": tables, "goals": goals}


def run(build, congestion, quick, progress):
    """A part that fails has no figures; the others, processes of their own,
    keep theirs."""
    parts, failed = {}, {}
    for name in PARTS:
        progress(f"{congestion}: {name}")
        try:
            parts[name] = run_part(name, build, congestion, quick)
        except (Failed, subprocess.SubprocessError) as error:
            failed[name] = str(error)
            shout(f"FAILED: {name}: {error}")
    return tell(parts, failed)
