# SPDX-License-Identifier: ISC
"""The ledger keeps what happened, whatever happens to the disk, and never
stops a byte of traffic."""

import contextlib
import errno
import glob
import os
import shutil
import sqlite3
import tempfile
import time

import pytest

import harness
from adminsocket import AdminError
from crowd import many_sessions
from harness import FACTOR, reverse, wait_until
from netns import tmpfs
from services import PATTERN, ask, connect, round_trip

MIB = 1 << 20


@pytest.fixture
def disk():
    """A file system of 8 MiB."""
    harness.need_root("mounting a tmpfs")
    path = tempfile.mkdtemp(prefix="td-", dir="/tmp")
    with tmpfs(path, 8 * MIB):
        yield path
    os.rmdir(path)


@pytest.fixture
def alone(daemon, echo):
    """Factory: a daemon with a local tunnel to an echo; not started."""
    def make(**options):
        return daemon("alone", daemon=dict(options, log_level="notice"),
                      tunnels=[{"name": "web", "listen": "127.0.0.1:0",
                                "connect": echo.address}])
    return make


def entry(d):
    return d.tunnel("web")["listen"]


def fill(disk):
    """Leaves not one free byte; the path of what fills it."""
    path = os.path.join(disk, "filler")
    with open(path, "ab", buffering=0) as file:
        for size in (65536, 4096, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError as error:
                assert error.errno == errno.ENOSPC
    return path


def traffic(d):
    """A session with some bytes: must work at any time."""
    began = time.monotonic()
    round_trip(entry(d), PATTERN * 2)
    assert time.monotonic() - began < 10 * FACTOR


def sessions_until(d, predicate, what):
    """Short sessions until something is true; how many."""
    count = 0
    end = time.monotonic() + 25 * FACTOR
    while not predicate():
        assert time.monotonic() < end, "in vain: " + what
        many_sessions(entry(d), 20, workers=4)
        count += 20
        time.sleep(0.05)
    return count


def all_accounted_for(d, count):
    """Every session is a row or counted as lost."""
    def check():
        ledger = d.ledger()
        return ledger["state"] == "ok" and ledger["queued"] == 0 and \
            len(d.history()) + ledger["lost"] >= count
    wait_until(check, 40, "%d sessions to be accounted for" % count, 0.2)
    ledger = d.ledger()
    assert len(d.history()) + ledger["lost"] == count
    return ledger["lost"]


# --- a daemon that dies ---------------------------------------------------

def test_killed_daemon_leaves_true_rows(pair, security, echo):
    """SIGKILL: at the next start its open sessions are daemon_lost, with
    their last counters, and its closed ones as they were."""
    p = pair(security, [reverse("web", echo.address)])
    round_trip(p.entry("web"), b"an older one")
    p.edge.closed(1)
    user = connect(p.entry("web"))
    with user:
        ask(user, PATTERN[:1234])
        uid = p.edge.wait_sessions(1)[0]["uid"]
        for d in p.both():
            wait_until(lambda: any(
                (r["up_bytes"], r["down_bytes"]) == (1234, 1234)
                for r in d.query("select * from sessions")), 20,
                "the counters to be written")
        for d in p.both():
            d.kill()
    for d in p.both():
        d.start()
        row = d.closed_one(uid)
        assert row["close_reason"] == "daemon_lost"
        assert (row["up_bytes"], row["down_bytes"]) == (1234, 1234)
        assert row["closed_at"] >= row["opened_at"]
        older = d.history()[1]
        assert (older["close_reason"], older["up_bytes"]) == ("closed", 12)
        runs = d.query("select * from runs")
        assert len(runs) == 2
        links = d.query("select * from links where down_at is not null and "
                        "down_at != 0")
        assert "daemon_lost" in {r["reason"] for r in links}


def test_history_and_ids_after_a_restart(alone):
    d = alone().start()
    for _ in range(5):
        round_trip(entry(d))
    before = d.closed(5)
    d.stop()
    d.start()
    assert d.history() == before
    for _ in range(5):
        round_trip(entry(d))
    rows = d.closed(10)
    assert len({r["id"] for r in rows}) == len({r["uid"] for r in rows}) == 10
    assert rows[5:] == before
    assert min(r["id"] for r in rows[:5]) > max(r["id"] for r in before)
    assert max(r["id"] for r in rows) < 2 ** 53


def test_orderly_end_writes_everything(alone):
    """Nothing of the last second is missing."""
    d = alone().start()
    many_sessions(entry(d), 500)
    d.stop()
    rows = d.query("select * from sessions where closed_at != 0")
    assert len(rows) == 500


def test_links_are_recorded(pair, security):
    p = pair(security)
    wait_until(lambda: p.home.ledger()["queued"] == 0, 10, "an empty queue")
    p.home.kill()
    p.edge.wait_not_up()
    p.home.start()
    p.wait_up()
    for d in p.both():
        d.stop()
        rows = d.query("select * from links order by up_at")
        assert len(rows) == 2
        assert {r["peer"] for r in rows} == {d.config["peers"][0]["name"]}
        assert all(r["address"].startswith("127.0.0.1:") for r in rows)
        assert all(r["down_at"] and r["reason"] for r in rows)
        assert rows[0]["up_at"] <= rows[1]["up_at"]


def test_wal_and_version(alone):
    d = alone().start()
    round_trip(entry(d))
    d.closed(1)
    assert d.query("pragma journal_mode")[0]["journal_mode"] == "wal"
    assert d.query("pragma user_version")[0]["user_version"] >= 1
    d.stop()
    assert d.query("pragma integrity_check")[0]["integrity_check"] == "ok"


# --- a full disk ----------------------------------------------------------

def test_full_disk(disk, alone):
    """It fills while the daemon works, and is emptied later."""
    d = alone(database=disk + "/sessions.db").start()
    many_sessions(entry(d), 50)
    d.closed(50)
    filler = fill(disk)
    count = 50 + sessions_until(d, lambda: d.ledger()["state"] != "ok",
                                "the full disk to be noticed")
    traffic(d)
    count += 1
    ledger = d.ledger()
    assert ledger["error"]
    assert ledger["queued"] > 0
    # The people at the admin socket are served meanwhile.
    began = time.monotonic()
    d.ctl("status")
    d.ctl("sessions")
    assert time.monotonic() - began < 5 * FACTOR
    os.unlink(filler)
    lost = all_accounted_for(d, count)
    assert lost == 0, "the bound was not reached"
    assert not d.ledger()["error"]
    d.stop()
    assert d.query("pragma integrity_check")[0]["integrity_check"] == "ok"


def test_disk_full_from_the_start(disk, alone):
    filler = fill(disk)
    d = alone(database=disk + "/sessions.db").start()
    many_sessions(entry(d), 40)
    traffic(d)
    assert d.ledger()["state"] != "ok"
    assert d.ledger()["error"]
    os.unlink(filler)
    assert all_accounted_for(d, 41) == 0


def test_end_with_a_full_disk(disk, alone):
    """Exit 0 in time all the same, and the log tells the loss."""
    d = alone(database=disk + "/sessions.db").start()
    many_sessions(entry(d), 20)
    d.closed(20)
    filler = fill(disk)
    count = 20 + sessions_until(d, lambda: d.ledger()["state"] != "ok",
                                "the full disk to be noticed")
    before = len(d.log())
    d.stop()
    os.unlink(filler)
    rows = d.query("select * from sessions where closed_at != 0")
    if len(rows) < count:       # it may have found room at last
        assert any(word in d.log()[before:] for word in
                   ("lost", "could not be written"))


# --- a locked file --------------------------------------------------------

@contextlib.contextmanager
def locked(path):
    with contextlib.closing(sqlite3.connect(
            path, isolation_level=None, timeout=20)) as db:
        db.execute("begin exclusive")
        yield
        db.execute("rollback")


def test_locked_file(alone):
    d = alone().start()
    many_sessions(entry(d), 20)
    d.closed(20)
    with locked(d.database):
        many_sessions(entry(d), 300)
        wait_until(lambda: d.ledger()["queued"] >= 300, 10,
                   "rows to wait in memory")
        traffic(d)
        time.sleep(3)
        traffic(d)
        d.ctl("status")
        assert d.ledger()["lost"] == 0
    assert all_accounted_for(d, 322) == 0


def test_end_with_a_locked_file(alone):
    d = alone().start()
    with locked(d.database):
        many_sessions(entry(d), 50)
        d.stop()
    d.start()
    traffic(d)


def test_start_with_a_locked_file(alone):
    d = alone().start()
    traffic(d)
    d.closed(1)
    d.stop()
    with locked(d.database):
        d.start()
        traffic(d)
        assert d.ledger()["state"] != "ok"
        traffic(d)
    wait_until(lambda: d.ledger()["state"] == "ok", 30, "the ledger")
    assert len(d.closed(3)) == 3


# --- a damaged file -------------------------------------------------------

def set_aside(d):
    return [path for path in glob.glob(d.database + ".damaged-*")
            if not path.endswith(("-wal", "-shm"))]


def test_damaged_file_at_the_start(alone):
    """Rubbish where the database should be: kept, and a new one begun."""
    d = alone()
    rubbish = PATTERN[:100000]
    with open(d.database, "wb") as file:
        file.write(rubbish)
    d.start()
    traffic(d)
    assert len(d.closed(1)) == 1
    ledger = d.ledger()
    assert ledger["state"] == "ok" and ledger["set_aside_at"]
    kept, = set_aside(d)
    with open(kept, "rb") as file:
        assert file.read() == rubbish
    d.stop()
    d.start()
    assert len(d.closed(1)) == 1
    assert d.ledger()["set_aside_at"] is None
    assert len(set_aside(d)) == 1


def spoil(path, first):
    """Rubbish over everything from byte `first` on, in place."""
    size = os.path.getsize(path)
    with open(path, "r+b") as file:
        file.seek(first)
        file.write((PATTERN * (1 + size // len(PATTERN)))[:size - first])


def test_damaged_pages_at_the_start(alone):
    """The header is good, the rest is not."""
    d = alone().start()
    many_sessions(entry(d), 400)
    d.closed(400)
    d.stop()
    with contextlib.closing(sqlite3.connect(d.database)) as db:
        db.execute("pragma wal_checkpoint(truncate)")
    assert os.path.getsize(d.database) > 40000
    spoil(d.database, 4096)
    d.start()
    traffic(d)
    wait_until(lambda: d.ledger()["set_aside_at"] and
               d.ledger()["state"] == "ok", 30, "a new database", 0.2)
    traffic(d)
    wait_until(lambda: d.history(), 20, "rows in the new one", 0.2)
    assert set_aside(d)


def test_damaged_while_running(alone):
    """Somebody overwrites the file under a working daemon, and it meets the
    damage when it is asked for its history."""
    d = alone().start()
    many_sessions(entry(d), 400)
    d.closed(400)
    for path in (d.database + "-wal", d.database):
        spoil(path, 0)

    def set_aside_and_well():
        with contextlib.suppress(AdminError):
            d.history()
        ledger = d.ledger()
        return ledger["set_aside_at"] and ledger["state"] == "ok"
    sessions_until(d, set_aside_and_well, "a new database")
    traffic(d)
    wait_until(lambda: d.history(), 20, "rows in the new one", 0.2)
    assert set_aside(d)


def test_removed_while_running(alone):
    """Somebody deletes the database: traffic goes on, the daemon ends in
    order, the next start has a ledger again."""
    d = alone().start()
    traffic(d)
    for path in glob.glob(d.database + "*"):
        os.unlink(path)
    many_sessions(entry(d), 100)
    traffic(d)
    d.stop()
    d.start()
    traffic(d)
    assert d.closed(1)


def test_database_of_a_newer_version(alone):
    """Not touched, not set aside: said, and traffic flows."""
    d = alone().start()
    traffic(d)
    d.closed(1)
    d.stop()
    with contextlib.closing(sqlite3.connect(d.database)) as db:
        db.execute("pragma user_version = 4711")
        db.commit()
    shutil.copy(d.database, d.path("copy"))
    d.start()
    traffic(d)
    assert d.ledger()["state"] == "failed"
    assert d.ledger()["error"]
    assert not set_aside(d)
    d.stop()
    with contextlib.closing(sqlite3.connect(d.database)) as db:
        assert db.execute("pragma user_version").fetchone()[0] == 4711
        assert db.execute("select count(*) from sessions").fetchone()[0] == 1


def test_unwritable_directory(daemon, echo):
    """The ordinary user's database directory is not his to write."""
    harness.need_root("a directory that somebody else may not write")
    d = daemon("alone", user=harness.ORDINARY_USER, tunnels=[
        {"name": "web", "listen": "127.0.0.1:0", "connect": echo.address}])
    os.mkdir(d.path("locked"), 0o755)
    d.config["daemon"]["database"] = d.path("locked", "sessions.db")
    d.start()
    traffic(d)
    assert d.ledger()["state"] != "ok" and d.ledger()["error"]
    d.give_away(d.path("locked"))
    wait_until(lambda: d.ledger()["state"] == "ok", 30, "the ledger")
    assert d.closed(1)
