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
import threading
import time

import place
from place import Failed, need, shout

HERE = pathlib.Path(__file__).resolve().parent
USERS = 50
# What a chain may still hold of each stream when the sender stops: the most
# that was seen of several is 20 MiB.
UNDER_WAY = 64 * 2**20
# But one alone may fill its sockets: 59 MiB of a bare splice loop were seen.
# The kernel's limits are for each of three hops; beside these there are pipes,
# and in mode mux a window of 16 MiB.
HOPS, WINDOWS = 3, 20 * 2**20

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
# It is with the transfer before, or listens anew after that.
NOT_YET = ("the server is busy", "Connection refused")


class Again(Failed):
    """Of what loads, not of what it measures: not twice in a row."""


# --- bulk ---------------------------------------------------------------------

def bulk_argv(subject, seconds, name, rate=None):
    streams = int(re.search(r"\d", name)[0])
    return [need("iperf3"), "-c", "127.0.0.1", "-p", str(subject.ports["bulk"]),
            "-t", str(seconds), "-P", str(streams), "-J",
            *(["-R"] if name.endswith("r") else []),
            *(["-b", rate] if rate else [])]


def most_under_way(streams):
    sockets = sum(int(path.read_text(encoding="ascii").split()[2])
                  for path in place.BUFFERS)
    return max(streams * UNDER_WAY, HOPS * sockets + WINDOWS)


def check_bulk(name, answer, streams=1):
    """Gbit/s and bytes that arrived."""
    try:
        report = json.loads(answer)
    except ValueError as error:
        raise Failed(f"{name}: iperf3 says {answer[:200]!r}") from error
    if "error" in report or "end" not in report:
        error = report.get("error", "no end")
        raise (Again if any(word in error for word in LOST_CONTROL + NOT_YET)
               else Failed)(f"{name}: iperf3: {error}")
    got = report["end"]["sum_received"]
    sent = report["end"]["sum_sent"]["bytes"]
    if not 0 < got["bytes"] <= sent or \
            sent - got["bytes"] > most_under_way(streams):
        raise Failed(f"{name}: {sent} bytes sent, {got['bytes']} came")
    for one in report["end"]["streams"]:
        if one["receiver"]["bytes"] == 0:
            raise Failed(f"{name}: a stream moved nothing")
    return got["bits_per_second"] / 1e9, got["bytes"]


class Transfer:
    """iperf3, under way when it is entered: begun anew as long as its server is
    not ready. What it leaves behind ends with the block."""

    BEGUN = 0.5     # seconds, and none takes less: by then it is refused
    PAUSE = 0.3     # before it is begun anew

    def __init__(self, subject, seconds, name, rate=None):
        self.subject, self.seconds, self.name = subject, seconds, name
        self.argv = bulk_argv(subject, seconds, name, rate)
        self.process = self.began = self.cpu = self.answer = None

    def __enter__(self):
        for _ in range(10):
            self.cpu, self.began = self.subject.cpu(), time.monotonic()
            self.answer = None
            self.process = subprocess.Popen(
                self.argv, text=True, stdout=subprocess.PIPE,
                env=self.subject.world.environment)
            try:
                if self.is_taken():
                    return self
            except BaseException:
                self.__exit__()
                raise
            self.__exit__()
            time.sleep(self.PAUSE)
        raise Failed(f"{self.subject.name}: iperf3's server stays busy, or "
                     "does not listen")

    def is_taken(self):
        try:
            self.process.wait(self.BEGUN)
        except subprocess.TimeoutExpired:
            return True
        # Refused, or broken, or we were held up for longer than it took.
        self.answer = self.process.stdout.read()
        return not any(word in self.answer for word in NOT_YET)

    def is_under_way(self):
        """Neither has it ended, nor are its seconds over while it counts."""
        return self.process.poll() is None and \
            time.monotonic() < self.began + self.seconds

    def finish(self):
        """Gbit/s and bytes that arrived."""
        if self.answer is None:
            self.answer = self.process.communicate(
                timeout=self.seconds + 60)[0]
        return check_bulk(self.subject.name, self.answer, int(self.name[4]))

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


def measure_bulk(subject, seconds, name):
    with Transfer(subject, seconds, name) as bulk:
        rate, count = bulk.finish()
        cpu = subject.cpu() - bulk.cpu
    return {"value": rate, "cpu": cpu / (count / 2**30), "count": count}


@contextlib.contextmanager
def bulk_beside(subject, seconds, rate, streams=1):
    """A transfer that begins a second before and ends after, with two to spare
    for what is late; yields what will have its Gbit/s."""
    moved = {}
    with Transfer(subject, seconds + 3, f"bulk{streams}", rate) as bulk:
        if bulk.answer is not None:
            bulk.finish()       # tells what is wrong, if anything is
        time.sleep(max(0, 1 - bulk.BEGUN))
        yield moved
        if not bulk.is_under_way():
            raise Again(f"{subject.name}: the transfer beside ended before "
                        "what was measured")
        moved["bulk"] = bulk.finish()[0]


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
        [need("wrk"), "-t1", f"-c{USERS}", f"-d{seconds}s", "--timeout", "10s",
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
            # What is preloaded does not reach this process.
            user.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION,
                            subject.world.congestion.encode())
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


@contextlib.contextmanager
def looked_at(subject, service):
    """Under its first load of each kind, all connections that there are must be
    under the congestion control of the run."""
    if service in subject.looked:
        yield
        return
    over, found = threading.Event(), []

    def look():
        while not found and not over.wait(0.4):
            try:
                if place.check_congestion(subject.world.congestion,
                                          subject.ports[service]):
                    found.append(None)
            except (Failed, OSError, subprocess.SubprocessError) as error:
                found.append(error)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    if not found:
        raise Again(f"{subject.name}: no connection was seen under load")
    if found[0]:
        raise Failed(f"{subject.name}: {found[0]}") from found[0]
    subject.looked.add(service)


def measure_once(name, subject, seconds, rate):
    kind, _, beside = name.partition("-")
    service = "bulk" if kind.startswith("bulk") else \
        "echo" if kind == "echo" else "web"
    with looked_at(subject, service):
        if service == "echo":
            return measure_echo(subject, 2 * seconds)
        if service == "bulk":
            return measure_bulk(subject, seconds, name)
        if beside:
            return measure_beside(subject, seconds, kind == "sessions", rate)
        return measure_requests(subject, seconds, kind == "sessions")


def measure(name, subject, seconds, rate, again):
    """What is repeated is added to `again`, too."""
    try:
        return measure_once(name, subject, seconds, rate)
    except Again as error:
        again.append({"measure": name, "why": str(error)})
        shout(f"AGAIN: {name}: {error}; this run has no figures")
    time.sleep(0.5)
    return measure_once(name, subject, seconds, rate)
