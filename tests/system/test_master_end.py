# SPDX-License-Identifier: ISC
"""How a master ends, and what it does with the signals it gets."""

import os
import pwd
import signal
import stat
import time

import pytest

import harness
from harness import FACTOR, wait_until
from processes import is_running
from reloads import is_refused, listening, tunnel_of
from services import ask, connect, drain, round_trip
# The fixtures are used by name.
from upgrades import alone, mastered, own, wait_draining, waits  # noqa: F401


# --- the master's end -----------------------------------------------------

def with_draining(p, d, count=2):
    """So many workers drain, each with a session."""
    users = []
    for _ in range(count):
        users.append(connect(p.entry("web")))
        ask(users[-1])
        d.upgrade()
        p.wait_up()
    users.append(connect(p.entry("web")))
    ask(users[-1])
    assert len(d.processes()) == count + 1
    return users


@pytest.mark.parametrize("who", ["edge", "home"])
def test_sigkill(mastered, who):
    """All workers go with it; ports are free; it can be started again."""
    p = mastered
    d = getattr(p, who)
    p.edge.freeze_ports()
    p.point_home(p.edge.gateway())
    users = with_draining(p, d)
    places = list(listening(d))
    there = d.processes()
    os.kill(d.process.pid, signal.SIGKILL)
    d.process.wait()
    d.stopped_by_test = True
    d.wait_gone(there, 3)
    for user in users:
        assert drain(user) in ("reset", "end")
        user.close()
    assert all(is_refused(place) for place in places)
    d.start()
    p.wait_up()
    round_trip(p.entry("web"))
    rows = d.closed(3)
    assert {r["close_reason"] for r in rows if r["close_reason"] !=
            "closed"} == {"daemon_lost"}


def test_sigkill_of_one_that_dropped_root(daemon, echo):
    """Who changes its user loses what the kernel would do for it."""
    harness.need_root("dropping it")
    d = daemon("alone", master=True, daemon={"user": harness.ORDINARY_USER},
               tunnels=[{"name": "own", "listen": "127.0.0.1:0",
                         "connect": echo.address}])
    user = pwd.getpwnam(harness.ORDINARY_USER)
    os.chown(d.directory, user.pw_uid, user.pw_gid)
    d.start()
    with connect(own(d)) as old:
        ask(old)
        d.upgrade()
        # Even one that stands still.
        there = d.processes()
        assert len(there) == 2
        d.kill()
        d.wait_gone(there, 3)


@pytest.mark.parametrize("stopped", ["current", "draining"])
def test_sigkill_while_workers_stand_still(mastered, stopped):
    p, d = mastered, mastered.edge
    users = with_draining(p, d, 1)
    there = d.processes()
    os.kill(there[0 if stopped == "draining" else 1].pid, signal.SIGSTOP)
    d.stopped_by_test = True
    harness.end_process(d.process)
    d.wait_gone(there, 3)
    for user in users:
        user.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_sigterm(mastered, number, tmp_path):
    """In order: status 0, soon, draining workers too, who would have minutes;
    socket files are gone, sessions recorded."""
    p, d = mastered, mastered.edge
    path = str(tmp_path / "own")
    d.config["tunnels"].append({"name": "own", "listen": "unix:" + path,
                                "connect": "127.0.0.1:1"})
    d.write_config()
    d.ctl("reload")
    assert stat.S_ISSOCK(os.stat(path).st_mode)
    users = with_draining(p, d)
    uids = {r["uid"] for r in d.sessions()}
    there, places = d.processes(), list(listening(d))
    began = time.monotonic()
    d.signal(number)
    assert d.process.wait(20 * FACTOR) == 0
    assert time.monotonic() - began < 8 * FACTOR
    assert not any(map(is_running, there))
    for user in users:
        assert drain(user) in ("reset", "end")
        user.close()
    assert not os.path.exists(path) and not os.path.exists(d.admin_path)
    assert all(is_refused(place) for place in places)
    rows = d.query("select lower(hex(uid)) as uid, close_reason from sessions"
                   " where close_reason = 'shutdown'")
    assert {r["uid"] for r in rows} == uids
    assert all(r["how"] == "stopped" for r in d.query("select * from runs"))
    assert {r["reason"] for r in p.home.admin("links") if r["down_at"]}
    d.start()
    assert len([r for r in d.closed(3) if r["close_reason"] == "shutdown"]) \
        == 3


def test_sigterm_to_the_worker(mastered):
    """By somebody who does not know better: it ends in order, and whatever
    the master makes of it, users are served or nobody is left."""
    p, d = mastered, mastered.edge
    worker = d.processes()[-1]
    os.kill(worker.pid, signal.SIGTERM)
    wait_until(lambda: not is_running(worker), 5, "it to end")

    def settled_down():
        if d.process.poll() is not None:
            assert d.process.returncode == 0
            return True
        return d.processes() and d.is_ready()
    wait_until(settled_down, 15, "an end or another worker")
    if d.process.poll() is None:
        round_trip(p.entry("web"))


def test_sigterm_while_no_worker_is_there(alone, tmp_path):
    """Between two tries: it ends at once, and leaves nothing behind."""
    path = str(tmp_path / "own")
    d = alone(tunnels=[{"name": "own", "listen": "unix:" + path,
                        "connect": "127.0.0.1:1"}])
    d.replace_binary("kill -9 $$")
    os.kill(d.worker, signal.SIGKILL)
    wait_until(lambda: len(waits(d)) >= 6, 20, "a long pause")
    assert stat.S_ISSOCK(os.stat(path).st_mode)
    began = time.monotonic()
    d.signal(signal.SIGTERM)
    status = d.process.wait(20 * FACTOR)
    assert time.monotonic() - began < 8 * FACTOR
    d.stopped_by_test = True
    assert status in (0, 1)
    d.replace_binary()
    d.start()
    assert stat.S_ISSOCK(os.stat(path).st_mode)


def test_hangups_while_no_worker_is_there(alone):
    """And hundreds of them while there is one: the master lives."""
    d = alone()
    d.replace_binary("kill -9 $$")
    os.kill(d.worker, signal.SIGKILL)
    wait_until(lambda: len(waits(d)) >= 3, 20, "some tries")
    for _ in range(100):
        d.signal(signal.SIGHUP)
    d.replace_binary()
    wait_until(d.is_ready, 20, "a worker")
    for count in range(300):
        d.signal(signal.SIGHUP)
    tunnel_of(d, "own")["max_held"] = 7
    d.write_config()
    d.signal(signal.SIGHUP)
    wait_until(lambda: d.admin("config")["tunnels"][0]["max_held"] == 7, 20,
               "the last file")
    round_trip(own(d))
    wait_draining(d, 0)


def test_signals_that_mean_nothing(alone):
    d = alone()
    worker = d.worker
    for number in (signal.SIGPIPE, signal.SIGCHLD, signal.SIGWINCH,
                   signal.SIGURG):
        for _ in range(20):
            d.signal(number)
    round_trip(own(d))
    assert d.worker == worker and d.process.poll() is None
