# SPDX-License-Identifier: ISC
"""The measures that rounds are made of. Each gives {"value", "cpu", "count"}
and more, or raises Failed: there is no figure from what moved nothing, or whose
counts do not match."""

import contextlib
import json
import pathlib
import re
import socket
import subprocess
import sys
import time

from place import Failed

HERE = pathlib.Path(__file__).resolve().parent
USERS = 50
# What sockets, pipes and windows of a chain may still hold when the sender
# stops: not more than this for each stream.
UNDER_WAY = 256 * 2**20

# Unit, what its CPU time is told for, is less better?
MEASURES = {
    "bulk1": ("Gbit/s", "s/GiB", False), "bulk1r": ("Gbit/s", "s/GiB", False),
    "bulk8": ("Gbit/s", "s/GiB", False), "bulk8r": ("Gbit/s", "s/GiB", False),
    "sessions": ("1/s", "s/1000", False),
    "keepalive": ("1/s", "s/10000", False),
    "sessions-beside": ("1/s", "s/s", False),
    "keepalive-beside": ("1/s", "s/s", False),
    "echo": ("ms p99", "s/s", True)}


# Seen once in some hundred runs, of stunnel too, when all was sent: iperf3 ended
# its control connection before it was read.
LOST_CONTROL = ("unable to receive control message",
                "control socket has closed unexpectedly")


class LostControl(Failed):
    """Of iperf3, not of what it measures: not twice in a row."""


# --- bulk ---------------------------------------------------------------------

def bulk_argv(subject, seconds, name, rate=None):
    streams = int(re.search(r"\d", name)[0])
    return ["iperf3", "-c", "127.0.0.1", "-p", str(subject.ports["bulk"]),
            "-t", f"{seconds:.0f}", "-P", str(streams), "-J",
            *(["-R"] if name.endswith("r") else []),
            *(["-b", rate] if rate else [])]


def check_bulk(name, answer, streams=1):
    """Gbit/s and bytes that arrived."""
    try:
        report = json.loads(answer)
    except ValueError as error:
        raise Failed(f"{name}: iperf3 says {answer[:200]!r}") from error
    if "error" in report or "end" not in report:
        error = report.get("error", "no end")
        raise (LostControl if any(word in error for word in LOST_CONTROL)
               else Failed)(f"{name}: iperf3: {error}")
    got = report["end"]["sum_received"]
    sent = report["end"]["sum_sent"]["bytes"]
    if not 0 < got["bytes"] <= sent or \
            sent - got["bytes"] > streams * UNDER_WAY:
        raise Failed(f"{name}: {sent} bytes sent, {got['bytes']} came")
    for one in report["end"]["streams"]:
        if one["receiver"]["bytes"] == 0:
            raise Failed(f"{name}: a stream moved nothing")
    return got["bits_per_second"] / 1e9, got["bytes"]


def measure_bulk(subject, seconds, name):
    for _ in range(10):
        cpu = subject.cpu()
        run = subprocess.run(bulk_argv(subject, seconds, name),
                             stdout=subprocess.PIPE, text=True, check=False,
                             env=subject.world.environment,
                             timeout=seconds + 60)
        cpu = subject.cpu() - cpu
        if "the server is busy" not in run.stdout:  # with the one before
            break
        time.sleep(0.3)
    rate, count = check_bulk(subject.name, run.stdout, int(name[4]))
    return {"value": rate, "cpu": cpu / (count / 2**30), "count": count}


@contextlib.contextmanager
def bulk_beside(subject, seconds, rate, streams=1):
    """A transfer that begins before and ends after; yields what will have its
    Gbit/s."""
    moved = {}
    time.sleep(0.3)  # the one before is over at the server, too
    argv = bulk_argv(subject, seconds + 2, f"bulk{streams}", rate)
    with subprocess.Popen(argv, text=True, stdout=subprocess.PIPE,
                          env=subject.world.environment) as bulk:
        try:
            time.sleep(1)
            yield moved
            answer = bulk.communicate(timeout=seconds + 60)[0]
        except BaseException:
            bulk.kill()
            raise
    moved["bulk"] = check_bulk(subject.name, answer, streams)[0]


# --- requests -----------------------------------------------------------------

def check_wrk(name, said, answered):
    """What report.lua wrote, against what nginx has counted meanwhile."""
    found = re.search(r"REPORT (\d+) (\d+) (\d+) (\d+) (\d+) (\d+)", said)
    if found is None:
        raise Failed(f"{name}: wrk says {said[-300:]!r}")
    count, took, errors, p50, p99, p999 = map(int, found.groups())
    if count == 0 or errors or not count <= answered <= count + 3 * USERS:
        raise Failed(f"{name}: wrk counts {count} and {errors} errors, nginx "
                     f"{answered}")
    return {"value": count / took * 1e6, "count": count, "p50": p50 / 1000,
            "p99": p99 / 1000, "p99.9": p999 / 1000}


def measure_requests(subject, seconds, close):
    before, cpu = subject.world.requests(), subject.cpu()
    begin = time.monotonic()
    run = subprocess.run(
        ["wrk", "-t1", f"-c{USERS}", f"-d{seconds:.0f}s", "--timeout", "10s",
         "-s", HERE / "report.lua",
         *(["-H", "Connection: close"] if close else []),
         f"http://127.0.0.1:{subject.ports['web']}/"],
        stdout=subprocess.PIPE, text=True, check=True,
        env=subject.world.environment, timeout=seconds + 60)
    cpu, took = subject.cpu() - cpu, time.monotonic() - begin
    figures = check_wrk(subject.name, run.stdout,
                        subject.world.requests() - before - 1)
    figures["cpu"] = cpu / figures["count"] * (1000 if close else 10000)
    figures["cpu_s"] = cpu / took
    return figures


def measure_beside(subject, seconds, close, rate):
    """Whose CPU time cannot be told apart from that of the transfer."""
    with bulk_beside(subject, seconds, rate) as moved:
        figures = measure_requests(subject, seconds, close)
    figures["cpu"] = figures["cpu_s"]
    return {**figures, **moved}


# --- one byte -----------------------------------------------------------------

def measure_echo(subject, seconds):
    """p99 in milliseconds, one byte at a time, beside eight transfers."""
    times = []
    with bulk_beside(subject, seconds, None, 8) as moved:
        cpu, begin = subject.cpu(), time.monotonic()
        with socket.create_connection(("127.0.0.1", subject.ports["echo"]),
                                      10) as user:
            user.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while (now := time.monotonic()) < begin + seconds:
                user.sendall(b"k")
                if user.recv(2) != b"k":
                    raise Failed(f"{subject.name}: another byte came back")
                times.append(time.monotonic() - now)
                time.sleep(0.001)
        cpu = (subject.cpu() - cpu) / (time.monotonic() - begin)
    if len(times) < 10:
        raise Failed(f"{subject.name}: {len(times)} echoes are too few")
    times.sort()
    return {"value": times[int(len(times) * 0.99)] * 1000, "cpu": cpu,
            "p50": times[len(times) // 2] * 1000, "count": len(times),
            **moved}


def measure_once(name, subject, seconds, rate):
    kind, _, beside = name.partition("-")
    if kind == "echo":
        return measure_echo(subject, 2 * seconds)
    if kind.startswith("bulk"):
        return measure_bulk(subject, seconds, name)
    if beside:
        return measure_beside(subject, seconds, kind == "sessions", rate)
    return measure_requests(subject, seconds, kind == "sessions")


def measure(name, subject, seconds, rate="2G"):
    try:
        return measure_once(name, subject, seconds, rate)
    except LostControl as lost:
        print(f"bench: AGAIN: {name}: {lost}; this run has no figures",
              file=sys.stderr)
    time.sleep(0.5)
    return measure_once(name, subject, seconds, rate)
