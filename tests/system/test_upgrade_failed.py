# SPDX-License-Identifier: ISC
"""Upgrades that fail: the worker that is there goes on as if nothing had
been asked, and who asked is told why."""

import os
import time

import pytest

from harness import FACTOR, SECURITIES, free_port, reverse, wait_until
from reloads import apply, settled, tunnel_of
from services import Pump, ask, connect, round_trip
# The fixtures are used by name.
from upgrades import (READY_TIME, alone, mastered, order, own,  # noqa: F401
                      refused, taken_port, untouched, wait_draining)


def links_of(p):
    return (p.edge, "home"), (p.home, "edge")


# --- the binary -----------------------------------------------------------

BAD = {
    "exits": (lambda d: d.replace_binary("exit 1"), "status 1"),
    "exits-0": (lambda d: d.replace_binary("exit 0"), "status 0"),
    "killed": (lambda d: d.replace_binary("kill -9 $$"), "signal 9"),
    "not-executable": (lambda d: d.replace_binary(mode=0o644), "ermission"),
    "missing": (lambda d: os.unlink(d.binary), "No such file"),
    "no-program": (lambda d: d.replace_binary(change=lambda data: b"\0" * 99),
                   "xec"),
    "directory": (lambda d: (os.unlink(d.binary), os.mkdir(d.binary)),
                  "ermission"),
}


@pytest.mark.parametrize("what", sorted(BAD))
def test_bad_binary(mastered, what):
    p, d = mastered, mastered.edge
    spoil, why = BAD[what]
    with connect(p.entry("web")) as user:
        ask(user)
        with untouched(d, *links_of(p)):
            spoil(d)
            for _ in range(2):
                said = refused(d)
                assert why in said, said
            answer = order(d, "upgrade")
            assert not answer["ok"]
            assert answer["error"]["code"] == "refused"
            assert why in answer["error"]["message"]
            assert "upgrade failed" in d.log()
            assert "worker %d goes on" % d.worker in d.log()
            ask(user, b"still here")
            round_trip(p.entry("web"))
        if what == "directory":
            os.rmdir(d.binary)
        d.replace_binary()
        d.upgrade()
        ask(user)
        round_trip(p.entry("web"))


def test_never_ready(pair, echo):
    """It hangs: it is given up, and gone; the old worker serves all the
    while, and another upgrade is told that there is one. READY_TIME passes
    for all securities at a time."""
    pairs = [pair(security, [reverse("web", echo.address)], master=True,
                  own_binary=True) for security in SECURITIES]
    for pump in [Pump(never_ready, p) for p in pairs]:
        pump.result()


def never_ready(p):
    d = p.edge
    with connect(p.entry("web")) as user:
        ask(user)
        d.replace_binary("exec sleep 1000")
        began = time.monotonic()
        with untouched(d, *links_of(p)):
            pump = Pump(order, d, "upgrade")
            wait_until(lambda: len(d.processes()) == 2, 10, "the new one")
            hanging = d.processes()[-1]
            other = order(d, "upgrade")
            assert not other["ok"] and other["error"]["code"] in ("refused",
                                                                  "busy")
            ask(user)
            round_trip(p.entry("web"))
            answer = pump.result()
            assert not answer["ok"], answer
            assert answer["error"]["code"] == "refused"
            assert "ready" in answer["error"]["message"]
            assert READY_TIME - 1 < time.monotonic() - began < \
                READY_TIME + 10 * FACTOR
            d.wait_gone([hanging])
        ask(user)
        d.replace_binary()
        d.upgrade()
        ask(user)


def test_killed_before_it_is_ready(mastered):
    """By somebody; the answer comes at once."""
    p, d = mastered, mastered.edge
    d.replace_binary("exec sleep 1000")
    with untouched(d, *links_of(p)):
        pump = Pump(order, d, "upgrade")
        wait_until(lambda: len(d.processes()) == 2, 10, "the new one")
        began = time.monotonic()
        os.kill(d.processes()[-1].pid, 15)
        answer = pump.result()
        assert "signal 15" in answer["error"]["message"], answer
        assert time.monotonic() - began < 5 * FACTOR
    round_trip(p.entry("web"))


@pytest.mark.parametrize("number", [9, 15])
def test_stopped_meanwhile(mastered, number):
    """The daemon is stopped while the new worker starts: nothing of either
    is left."""
    p, d = mastered, mastered.edge
    d.freeze_ports()
    d.replace_binary("exec sleep 1000")
    pump = Pump(order, d, "upgrade")
    there = wait_until(lambda: len(d.processes()) == 2 and d.processes(), 10,
                       "the new one")
    if number == 9:
        d.kill()
    else:
        d.stop()
    d.wait_gone(there)
    try:
        pump.result()
    except Exception as error:
        assert "ConnectionError" in repr(error) or \
            "BrokenPipe" in repr(error), error
    d.replace_binary()
    d.start()
    p.wait_up()


def test_reload_while_it_starts(mastered):
    """Refused or done; but the file is in effect in the end, or who asked
    is told that it is not."""
    p, d = mastered, mastered.edge
    d.replace_binary("exec sleep 1000")
    pump = Pump(order, d, "upgrade")
    wait_until(lambda: len(d.processes()) == 2, 10, "the new one")
    new = d.processes()[-1]
    tunnel_of(d, "web")["max_held"] = 9
    d.write_config()
    answer = order(d, "reload")
    os.kill(new.pid, 9)
    assert not pump.result()["ok"]
    if not answer["ok"]:
        assert answer["error"]["code"] in ("refused", "busy")
        apply(d)
    settled(d)
    round_trip(p.entry("web"))


# --- the config -----------------------------------------------------------

def test_broken_config(mastered):
    """Every error of it comes back."""
    p, d = mastered, mastered.edge
    with connect(p.entry("web")) as user:
        ask(user)
        with untouched(d, *links_of(p)):
            d.config["tunnels"] += [
                {"name": "bad/name", "listen": "127.0.0.1:0",
                 "connect": "127.0.0.1:1"},
                {"name": "lost", "peer": "nobody", "listen": "127.0.0.1:0"}]
            d.write_config()
            said = refused(d)
            assert "bad/name" in said and d.config_path in said, said
            d.text = "daemon = { name = ;"
            d.write_config()
            assert d.config_path in refused(d)
            os.unlink(d.config_path)
            assert d.config_path in refused(d)
            ask(user)
        d.text = None
        del d.config["tunnels"][-2:]
        d.write_config()
        d.upgrade()
        ask(user)
        round_trip(p.entry("web"))


def test_secret_is_missing(mastered):
    p, d = mastered, mastered.edge
    path = d.config["peers"][0]["secret_file"]
    with untouched(d, *links_of(p)):
        os.rename(path, path + ".away")
        assert path in refused(d)
        os.chmod(path + ".away", 0o644)
        os.rename(path + ".away", path)
        assert path in refused(d)
        os.chmod(path, 0o600)
    d.upgrade()
    p.wait_up()
    round_trip(p.entry("web"))


@pytest.mark.parametrize("what", ["tunnel", "gateway", "metrics"])
def test_port_is_taken(mastered, closing, echo, what):
    """One that was configured meanwhile; what the new worker had bound
    before is let go again."""
    p, d = mastered, mastered.edge
    d.freeze_ports()
    taken, free = taken_port(closing), "127.0.0.1:%d" % free_port()
    d.config["tunnels"].insert(0, {"name": "fine", "listen": free,
                                   "connect": echo.address})
    if what == "tunnel":
        d.config["tunnels"].append({"name": "own", "listen": taken,
                                    "connect": echo.address})
    elif what == "gateway":
        d.config["gateway"]["listen"].append(taken)
    else:
        d.config["metrics"] = {"listen": taken}
    with connect(p.entry("web")) as user:
        ask(user)
        with untouched(d, *links_of(p)):
            d.write_config()
            for _ in range(2):
                assert taken in refused(d)
            ask(user)
            round_trip(p.entry("web"))
            with pytest.raises(ConnectionRefusedError):
                connect(free)


def test_another_database_that_cannot_be(mastered):
    """A ledger that is not there never stops a start: nor an upgrade."""
    p, d = mastered, mastered.edge
    os.chmod(d.directory, 0o755)
    d.config["daemon"]["database"] = d.path("no", "such", "directory", "db")
    d.write_config()
    d.upgrade()
    round_trip(p.entry("web"))
    assert d.ledger()["state"] != "ok"


# --- both -----------------------------------------------------------------

def test_again_and_again(pair, security, echo):
    """Twenty failures of every kind between upgrades that do not fail: what
    was started is gone, and nothing is used up."""
    p = pair(security, [reverse("web", echo.address)], master=True,
             own_binary=True)
    d = p.edge
    with connect(p.entry("web")) as user:
        ask(user)
        d.upgrade()
        p.wait_up()
        wait_until(lambda: d.ready("home") == 2, 10, "a full reserve")
        fds = d.fds()
        for count in range(20):
            d.replace_binary("exit %d" % (count % 3))
            assert not order(d, "upgrade")["ok"]
            assert len(d.processes()) == 2
        ask(user)
        wait_until(lambda: d.fds() <= fds + 1, 10, "no more descriptors")
        d.replace_binary()
        d.upgrade()
        ask(user)
    wait_draining(d, 0)
    round_trip(p.entry("web"))


def test_alone(alone):
    """Without any peer."""
    d = alone()
    entry = own(d)
    with connect(entry) as user:
        ask(user)
        with untouched(d):
            d.replace_binary("exit 3")
            assert "status 3" in refused(d)
            ask(user)
            round_trip(entry)
