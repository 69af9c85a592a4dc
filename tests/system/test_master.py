# SPDX-License-Identifier: ISC
"""The master: it starts the worker, and another one when that dies; and what
it keeps for it."""

import contextlib
import os
import re
import signal
import time

import pytest

import harness
from harness import FACTOR, free_port, wait_until
from processes import descriptors, is_running, zombies
from reloads import apply, is_refused, listening, settled
from services import (Listener, Pump, ask, connect, drain, read_exactly,
                      round_trip)
# The fixtures are used by name.
from upgrades import (CRASHES, alone, crash, ended, mastered,  # noqa: F401
                      order, own, wait_draining, waits, workers)


def status_of(pid):
    with open("/proc/%d/status" % pid) as file:
        return dict(line.rstrip("\n").split(":\t", 1) for line in file
                    if ":\t" in line)


# --- what it is -----------------------------------------------------------

def test_two_processes(alone):
    """The one that was started, without threads, and its worker."""
    d = alone()
    worker, = d.processes()
    assert d.version()["pid"] == worker.pid != d.process.pid
    assert d.version()["master"] == d.process.pid
    master = status_of(d.process.pid)
    assert master["Threads"] == "1" and master["Seccomp"] == "0"
    assert int(master["VmRSS"].split()[0]) < \
        int(status_of(worker.pid)["VmRSS"].split()[0]) or harness.SLOW
    with open("/proc/%d/cmdline" % worker.pid) as file:
        assert file.read().startswith("tunneld: worker")
    with open("/proc/%d/cmdline" % d.process.pid) as file:
        assert file.read().startswith(d.binary + "\0")
    round_trip(own(d))


def test_no_descriptor_too_many(alone):
    """Nothing of a worker, or of the master, would go to another program."""
    d = alone()
    for _ in range(2):
        d.upgrade()
        crash(d)
    for pid in (d.process.pid, d.worker):
        for number, what in descriptors(pid).items():
            if number > 2:
                with contextlib.suppress(FileNotFoundError), \
                        open("/proc/%d/fdinfo/%d" % (pid, number)) as file:
                    flags = re.search(r"flags:\s+(\d+)", file.read())[1]
                    assert int(flags, 8) & os.O_CLOEXEC, what


def test_first_worker_fails(alone, closing):
    """As without a master: status 1, and why."""
    taken = closing(Listener())
    for spoil, why in ((lambda d: d.config["tunnels"].append(
            {"name": "b", "listen": taken.address,
             "connect": taken.address}), taken.address),
            (lambda d: d.config["tunnels"].append({"name": "/"}), "name"),
            (lambda d: d.config["daemon"].update(admin_group="no-such"),
             "no-such")):
        d = alone(start=False)
        spoil(d)
        d.expect_status = 1
        d.launch()
        assert d.process.wait(15 * FACTOR) == 1
        assert why in d.log()
        assert "starting another" not in d.log()
        assert not os.path.exists(d.admin_path)


def test_second_daemon(alone, daemon):
    first = alone()
    second = daemon("alone", master=True, daemon={
        "admin_socket": first.admin_path}).launch()
    second.expect_status = 1
    assert second.process.wait(10 * FACTOR) == 1
    assert first.admin_path in second.log()
    assert first.version()["master"] == first.process.pid
    first.upgrade()
    third = daemon("alone", daemon={
        "admin_socket": first.admin_path}).launch()
    third.expect_status = 1
    assert third.process.wait(10 * FACTOR) == 1
    first.ctl("status")


def test_the_master_is_slow(alone, echo):
    """It still has a listener that the worker closed in one reload and wants
    again in the next."""
    d = alone()
    tunnel = {"name": "x", "listen": "127.0.0.1:%d" % free_port(),
              "connect": echo.address}
    for other in (dict(tunnel), dict(tunnel, listen="0.0.0.0:%s" %
                                     tunnel["listen"].split(":")[1])):
        d.config["tunnels"].append(tunnel)
        apply(d)
        del d.config["tunnels"][1:]
        os.kill(d.process.pid, signal.SIGSTOP)
        try:
            apply(d)
            d.config["tunnels"].append(other)
            d.write_config()
            pump = Pump(order, d, "reload")
            time.sleep(0.3)     # as long as it is slow
        finally:
            os.kill(d.process.pid, signal.SIGCONT)
        answer = pump.result()
        assert answer["ok"], answer
        round_trip(tunnel["listen"])
        del d.config["tunnels"][1:]
        apply(d)
        wait_until(lambda: is_refused(tunnel["listen"]), 5, "its end")


# --- a worker that dies ---------------------------------------------------

@pytest.mark.parametrize("number", CRASHES)
@pytest.mark.parametrize("who", ["edge", "home"])
def test_crash(mastered, who, number):
    """Another one comes; sessions go, links come back, users who come
    meanwhile are served."""
    p = mastered
    d = getattr(p, who)
    entry = p.entry("web")
    with connect(entry) as user:
        ask(user)
        uid = p.the_uid()
        wait_until(lambda: d.query("select * from sessions"), 10,
                   "it to be written")
        worker = d.processes()[-1]
        os.kill(worker.pid, number)
        wait_until(lambda: not is_running(worker), 5, "it to die")
        with connect(entry) as other:
            other.sendall(b"hello")
            assert read_exactly(other, 5) == b"hello"
        drain(user)
    assert d.worker != worker.pid and d.version()["master"] == d.process.pid
    assert re.search(r"worker %d .*signal %d\b" % (worker.pid, number),
                     d.log())
    assert waits(d) == [0.1]
    assert d.closed_one(uid)["close_reason"] == "daemon_lost"
    assert ended(d, worker.pid) == "lost"
    assert zombies(d.process.pid) == []
    p.wait_up()
    round_trip(entry)


@pytest.mark.parametrize("number", CRASHES)
def test_nobody_is_refused(alone, closing, number):
    """Callers in a loop: those whose session it was are cut off, all others
    are served; the port is never closed."""
    d = alone()
    entry = own(d)
    refused = []

    def call():
        """Whether served or cut off."""
        try:
            with connect(entry) as sock:
                sock.sendall(b"ring")
                return read_exactly(sock, 4) == b"ring"
        except ConnectionRefusedError as error:
            refused.append(error)
            raise
        except (OSError, AssertionError):
            return False
    done = []

    def calls():
        end = time.monotonic() + 2.5
        while time.monotonic() < end:
            done.append(call())
    before = listening(d)
    pumps = [Pump(calls) for _ in range(3)]
    for _ in range(3):
        crash(d, number)
        round_trip(entry)
    for pump in pumps:
        pump.result()
    assert not refused
    assert done.count(True) > 10 and done.count(False) <= 3 * 3
    assert listening(d) == before


def test_the_queue_of_a_long_pause(alone):
    """Crash upon crash: hundreds come in the seconds until the next worker,
    say their word, and are served by it."""
    d = alone()
    entry = own(d)
    for _ in range(4):
        crash(d)
    worker = d.processes()[-1]
    os.kill(worker.pid, signal.SIGKILL)
    wait_until(lambda: not is_running(worker), 5, "it to die")
    users = []
    try:
        for count in range(300):
            users.append(connect(entry))
            users[-1].sendall(b"%04d" % count)
        assert d.processes() == [], "it was there before them: a poor test"
        for count, user in enumerate(users):
            assert read_exactly(user, 4) == b"%04d" % count
    finally:
        for user in users:
            user.close()
    assert waits(d) == [0.1, 0.2, 0.4, 0.8, 1.6]


def test_crashes_in_a_loop(alone):
    """It waits longer and longer, and is there once it can be."""
    d = alone()
    entry = own(d)
    d.replace_binary("kill -9 $$")
    began = time.monotonic()
    os.kill(d.worker, signal.SIGKILL)
    wait_until(lambda: len(waits(d)) >= 5, 20, "five tries")
    took = time.monotonic() - began
    assert waits(d)[:5] == [0.1, 0.2, 0.4, 0.8, 1.6]
    assert 1.4 < took < 5 * FACTOR
    with connect(entry) as user:
        user.sendall(b"patience")
        d.replace_binary()
        assert read_exactly(user, 8) == b"patience"
    assert own(d) == entry
    assert len(waits(d)) <= 7
    d.upgrade()


@pytest.mark.parametrize("what", ["exits", "missing", "not-executable"])
def test_binary_is_bad_at_a_crash(alone, what):
    d = alone()
    entry = own(d)
    if what == "exits":
        d.replace_binary("exit 1")
    elif what == "missing":
        os.rename(d.binary, d.binary + ".away")
    else:
        os.chmod(d.binary, 0o644)
    os.kill(d.worker, signal.SIGKILL)
    wait_until(lambda: len(waits(d)) >= 3, 20, "some tries")
    with connect(entry) as user:
        user.sendall(b"patience")
        d.replace_binary()
        assert read_exactly(user, 8) == b"patience"
    assert d.process.poll() is None


@pytest.mark.parametrize("what", ["config", "port", "later-port", "secret"])
def test_config_is_broken_at_a_crash(alone, closing, what):
    """It is tried again until it is not; all ports are kept meanwhile."""
    d = alone()
    entry = own(d)
    good, words = d.config["tunnels"][:], "nobody"
    if what == "config":
        d.config["tunnels"].append({"name": "lost", "peer": "nobody"})
    elif what == "secret":
        d.config["peers"] = [{"name": "nobody", "connect": "127.0.0.1:1",
                              "secret_file": d.path("no-such")}]
        words = "no-such"
    else:
        words = closing(Listener()).address
        d.config["tunnels"].insert(len(good) if what == "later-port" else 0, {
            "name": "b", "listen": words, "connect": words})
    d.write_config()
    os.kill(d.worker, signal.SIGKILL)
    wait_until(lambda: len(waits(d)) >= 3 and words in d.log(), 20,
               "some tries")
    with connect(entry) as user:
        user.sendall(b"patience")
        d.config["tunnels"], d.config["peers"] = good, []
        d.write_config()
        assert read_exactly(user, 8) == b"patience"
    settled(d)
    assert own(d) == entry


def test_draining_workers_survive_a_crash(mastered):
    """They have nothing to do with it; and the next worker finds them."""
    p, d = mastered, mastered.edge
    with connect(p.entry("web")) as user:
        ask(user)
        uid = p.the_uid()
        before = d.upgrade()[1]
        for number in CRASHES:
            crash(d, number)
            ask(user)
        assert is_running(d.processes()[0])
        wait_until(lambda: [w["pid"] for w in workers(d)] == [before], 10,
                   "it to be seen")
        assert uid in {r["uid"] for r in d.sessions()}
        p.wait_up()
        round_trip(p.entry("web"))
    wait_draining(d, 0)
    assert d.closed_one(uid)["close_reason"] == "closed"


def test_crash_while_it_is_upgraded(mastered):
    """The old worker dies while the new one starts: whichever way it goes,
    there is one in the end."""
    p, d = mastered, mastered.edge
    for number in CRASHES * 2:
        before = d.processes()[-1]
        pump = Pump(order, d, "upgrade")
        wait_until(lambda: len(d.processes()) == 2 or not pump.is_alive(), 10,
                   "another one", 0.001)
        with contextlib.suppress(ProcessLookupError):
            os.kill(before.pid, number)
        with contextlib.suppress(ConnectionError, OSError):
            pump.result()
        wait_until(lambda: d.worker != before.pid, 15, "another worker")
        wait_until(lambda: len(d.processes()) == 1, 40, "no more than one")
        round_trip(p.entry("web"))
