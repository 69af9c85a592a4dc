# SPDX-License-Identifier: ISC
"""The history in a file, with the daemon or without; as CSV; and a large
one that holds nobody up."""

import contextlib
import csv
import io
import os
import shutil
import sqlite3
import time

import pytest

import harness
from adminsocket import Admin, AdminError
from harness import FACTOR, ORDINARY_USER, reverse, wait_until
from past import DAY0, clear, make_sessions, put
from services import Echo, Pump, ask, connect, round_trip
from tool import tool

SPAN = ["--utc", "--since", "2026-03-01", "-n", "5000"]
QUESTIONS = [
    ["history"],
    ["history", "-n", "10000"],
    ["history", "-t", "home/ssh", "-S", "10.1.2.3"],
    ["history", "-r", "denied", "--min-bytes", "10K"],
    ["history", "-p", "gone"],
    ["history", "changes"],
    ["history", "links"],
    ["history", "links", "-p", "home"],
    ["stats", *SPAN],
    ["stats", *SPAN, "--by", "source", "--per", "day"],
    ["stats", *SPAN, "--by", "tunnel", "--per", "hour", "-t", "db"],
]


def offline(path, *words, status=0, **kw):
    """tunnelctl on a file, with no daemon to ask."""
    return tool(None, "-s", "/nonexistent/socket", *words, "--database", path,
                status=status, **kw)


def still(rows):
    """Without what grows while time passes."""
    if isinstance(rows, dict):
        return {key: still(value) for key, value in rows.items()}
    return [{key: value for key, value in row.items()
             if key not in ("up", "away", "known", "percent", "downs")}
            for row in rows]


def answers(ask):
    return [still(ask(*words)) for words in QUESTIONS]


def from_file(path):
    return answers(lambda *words: offline(path, "--json", *words).json)


@pytest.fixture
def past(pair_of, echo):
    """A pair whose edge has a past and a present."""
    p = pair_of("plain", [reverse("web", echo.address)],
                edge={"daemon": {"retention_days": 0}})
    p.edge.start()
    p.edge.stop()
    clear(p.edge.database)
    put(p.edge.database, "sessions", make_sessions(500))
    p.start()
    round_trip(p.entry("web"))
    p.edge.ctl("disable", "web")
    p.edge.ctl("enable", "web")
    p.edge.closed(501)
    wait_until(lambda: len(p.edge.admin("changes")) == 2, 10, "the changes")
    return p


def test_the_same_with_and_without_the_daemon(past):
    """Live, beside a running daemon, and after it was stopped."""
    d = past.edge
    live = answers(d.ctl)
    assert all(live[n] for n in (0, 1, 2, 3, 5, 6, 8, 9, 10))
    assert from_file(d.database) == live
    links = d.ctl("history", "links")
    d.stop()
    after = from_file(d.database)
    assert after[:6] + after[8:] == live[:6] + live[8:]
    # The link that was up has ended by now.
    rows = offline(d.database, "--json", "history", "links").json
    assert [r["up_at"] for r in rows] == [r["up_at"] for r in links]
    assert rows[0]["down_at"] and rows[0]["reason"]
    # As text too, and no daemon was looked for.
    said = offline(d.database, "history", "-n", "3")
    assert len(said.out.splitlines()) == 4 and not said.err


def test_after_a_daemon_that_died(past):
    """What is in the -wal alone is found; the file is left as it is."""
    d = past.edge
    live = answers(d.ctl)
    d.kill()
    assert os.path.getsize(d.database + "-wal") > 0
    with open(d.database, "rb") as file:
        before = file.read()
    after = from_file(d.database)
    assert after[:6] + after[8:] == live[:6] + live[8:]
    # Nobody has closed the link in the file, and it is not up any more.
    link = after[6][0]
    assert link["down_at"] and link["reason"] == "daemon_lost"
    with open(d.database, "rb") as file:
        assert file.read() == before
    assert os.path.exists(d.database + "-wal")


@pytest.mark.parametrize("how", ["stopped", "killed"])
def test_read_only(past, how):
    """Somebody who may read file and directory and write neither."""
    harness.need_root("being somebody else")
    d = past.edge
    live = answers(d.ctl)[:6]
    d.stop() if how == "stopped" else d.kill()
    os.chmod(d.directory, 0o755)
    place = d.path("archive")
    os.mkdir(place)
    for name in os.listdir(d.directory):
        if name.startswith("sessions.db"):
            shutil.copy(d.path(name), place)
    for name in os.listdir(place):
        os.chmod(os.path.join(place, name), 0o444)
    os.chmod(place, 0o555)
    path = os.path.join(place, "sessions.db")
    names = sorted(os.listdir(place))
    for words, wanted in zip(QUESTIONS, live):
        said = tool(d, "--json", *words, "--database", path,
                    user=ORDINARY_USER)
        assert still(said.json) == wanted
    assert sorted(os.listdir(place)) == names
    os.chmod(path, 0o400)
    said = tool(d, "history", "--database", path, user=ORDINARY_USER,
                status=3)
    assert said.err and not said.out


def test_files_that_are_none(daemon, tmp_path):
    """Exit status 3 and a reason with the file's name, and none is made."""
    d = daemon("alone").start()
    d.stop()
    newer = str(tmp_path / "newer.db")
    shutil.copy(d.database, newer)
    with contextlib.closing(sqlite3.connect(newer)) as db:
        db.execute("pragma user_version = 4711")
        db.commit()
    other = str(tmp_path / "other.db")
    with contextlib.closing(sqlite3.connect(other)) as db:
        db.execute("create table cats (name text)")
        db.commit()
    text = tmp_path / "text"
    text.write_text("no database at all\n" * 100)
    (tmp_path / "empty").write_text("")
    missing = str(tmp_path / "missing.db")
    for path in (missing, newer, other, str(text), str(tmp_path / "empty"),
                 str(tmp_path), "/dev/null", missing + "/x", ""):
        for words in (["history"], ["history", "links"], ["stats"]):
            said = offline(path, *words, status=3 if path else None)
            assert said.status in (2, 3)
            assert said.err and not said.out, said
            assert path in said.err
            for part in ("--json", "--csv"):
                assert not offline(path, part, *words, status=None).out
    assert not os.path.exists(missing)
    # A file is no daemon.
    for words in (["status"], ["kill", "1"], ["events"], ["sessions"]):
        offline(d.database, *words, status=2)


# --- CSV ------------------------------------------------------------------

def as_csv(d, *words):
    said = tool(d, "--csv", *words)
    return list(csv.DictReader(io.StringIO(said.out, newline=""),
                               strict=True))


def cell(value):
    return "" if value is None else str(value)


def test_csv(past):
    """RFC 4180: the same rows and exact values as in JSON."""
    d = past.edge
    for words in (["history", "-n", "600"], ["history", "links"],
                  ["history", "changes"], ["sessions"], ["peers"],
                  ["tunnels"], ["stats", *SPAN, "--by", "source"]):
        with connect(past.entry("web")) as user:
            ask(user)
            rows = d.ctl(*words)
            table = as_csv(d, *words)
        assert len(table) == len(rows) > 0, words
        for line, row in zip(table, rows):
            for key in ("id", "tunnel", "peer", "name", "source", "target",
                        "opened_at", "closed_at", "up_bytes", "close_reason",
                        "up_at", "reason", "at", "uid", "command", "detail",
                        "sessions"):
                if key in row and key in line and \
                        not isinstance(row[key], (bool, dict)):
                    assert line[key] == cell(row[key]), (words, key)
    header = tool(d, "--csv", "history").out.split("\r\n")[0]
    assert {"id", "tunnel", "peer", "source", "opened_at", "closed_at",
            "up_bytes", "down_bytes", "close_reason"} <= \
        set(header.split(","))
    assert "\r\n" in tool(d, "--csv", "history", "-n", "1").out
    # An empty table still has its header.
    assert tool(d, "--csv", "history", "-p", "gone").out.rstrip() == header


def test_csv_of_odd_text(daemon, closing, tmp_path):
    """Commas, quotes and equal signs in a path cross."""
    path = str(tmp_path / 'a, "b" =c')
    service = closing(Echo("unix:" + path))
    d = daemon("alone", tunnels=[{"name": "web", "listen": "127.0.0.1:0",
                                  "connect": service.address}]).start()
    round_trip(d.tunnel("web")["listen"])
    d.closed(1)
    row, = as_csv(d, "history")
    assert row["target"] == "unix:" + path
    row, = as_csv(d, "tunnels", "--columns", "connect,name")
    assert list(row) == ["connect", "name"]
    assert row["connect"] == "unix:" + path


# --- many -----------------------------------------------------------------

MANY = 200000


@pytest.fixture
def many(daemon, echo):
    """200,000 sessions, and a tunnel that works."""
    d = daemon("alone", daemon={"retention_days": 0}, tunnels=[
        {"name": "web", "listen": "127.0.0.1:0",
         "connect": echo.address}]).start()
    d.stop()
    put_many(d.database)
    return d.start()


def put_many(path):
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("pragma synchronous = off")
        few = make_sessions(1000)
        keys = [k for k in few[0] if k not in ("id", "uid", "opened_at",
                                               "closed_at", "source_host",
                                               "source")]
        db.execute("create temp table few as select %s from sessions "
                   "limit 0" % ", ".join(keys))
        db.executemany("insert into few values (%s)" % ", ".join(
            "?" * len(keys)), ([row[k] for k in keys] for row in few))
        # Every combination of a thousand kinds and a span of 30 days.
        db.execute(
            "with recursive n(i) as (select 0 union all select i + 1 from n "
            "where i + 1 < ?) insert into sessions (id, uid, opened_at, "
            "closed_at, source_host, source, %s) select 5000000 + i, "
            "randomblob(16), ? + i * 12960000, ? + i * 12960000 + "
            "i %% 977 * 1000000, '10.' || (i %% 50) || '.0.1', "
            "'10.' || (i %% 50) || '.0.1:5000', %s from n join few on "
            "few.rowid = i %% 1000 + 1" % (", ".join(keys), ", ".join(keys)),
            (MANY, DAY0, DAY0))
        db.commit()


@pytest.mark.bound(180)
def test_long_questions_hold_nobody_up(many):
    """The loop answers and carries while the heaviest sums are made, and a
    question with a filter is answered in a moment."""
    entry = many.tunnel("web")["listen"]

    def heavy():
        for by in ("source", "tunnel", "peer"):
            for per in ("hour", "day"):
                with contextlib.suppress(AdminError):   # its deadline
                    many.admin("stats", since=DAY0 / 1e6, by=by, per=per,
                               limit=10000)
    asker = Pump(heavy)
    client = Admin(many.admin_path)
    slowest = count = 0
    while asker.is_alive():
        began = time.monotonic()
        client("status")
        client("sessions")
        round_trip(entry)
        slowest = max(slowest, time.monotonic() - began)
        count += 1
    asker.result()
    client.close()
    assert count > 3 and slowest < 2.5 * FACTOR, (count, slowest)
    for words in ([], ["-t", "db"], ["-p", "shed"], ["-S", "10.7.0.1"],
                  ["-r", "denied"], ["--since", "2026-03-20"],
                  ["--until", "2026-03-05"], ["--min-bytes", "300M"]):
        began = time.monotonic()
        rows = many.ctl("history", "--limit", "50", *words)
        assert len(rows) == 50, words
        assert time.monotonic() - began < 10 * FACTOR, words
    began = time.monotonic()
    both = many.ctl("stats", "--utc", "--since", "2026-03-15", "--until",
                    "2026-03-16")
    day = 86400 / 12.96
    assert abs(sum(r["sessions"] for r in both["stats"]) - day) <= 1
    assert time.monotonic() - began < 10 * FACTOR


def test_deadline_of_a_question(many):
    """Twenty heavy questions at a time end in time, with answers
    or with a plain error, and the next question is answered."""
    clients = [Admin(many.admin_path, timeout=90) for _ in range(20)]
    began = time.monotonic()
    for client in clients:
        client.send_line('{"id": 1, "cmd": "stats", "args": {"since": 1, '
                         '"by": "source", "per": "hour"}}\n')
    many.status()
    for client in clients:
        answer = client.read_line()
        while answer["ok"] and answer.get("more"):
            answer = client.read_line()
        assert answer["ok"] or answer["error"]["code"] in (
            "timeout", "unavailable")
        client.close()
    assert time.monotonic() - began < 60 * FACTOR
    assert len(many.ctl("history", "-n", "5")) == 5


# --- another version ------------------------------------------------------

# As version 1 made it; the indexes do not matter here.
FIRST = """
pragma journal_mode = wal;
create table meta (name text primary key, value integer not null)
    without rowid;
insert into meta values ('next_id', 6000000);
create table runs (id integer primary key autoincrement,
    daemon text not null, version text not null, pid integer not null,
    started_at integer not null, seen_at integer not null,
    ended_at integer, how text);
create index runs_open on runs (id) where ended_at is null;
create table sessions (id integer primary key, uid blob not null,
    run integer not null, tunnel text not null, peer text not null,
    type text not null, end text not null, source text not null,
    source_host text not null, target text not null,
    opened_at integer not null, closed_at integer,
    up_bytes integer not null, down_bytes integer not null,
    close_reason text, closed_by text);
create index sessions_run on sessions (run, closed_at);
create index sessions_opened on sessions (opened_at);
create index sessions_tunnel on sessions (tunnel, opened_at);
create index sessions_peer on sessions (peer, opened_at);
create index sessions_source on sessions (source_host, opened_at);
create index sessions_reason on sessions (close_reason, opened_at);
create table links (run integer not null, id integer not null,
    peer text not null, address text not null, up_at integer not null,
    down_at integer, reason text, primary key (run, id)) without rowid;
create index links_up on links (up_at);
create index links_peer on links (peer, up_at);
pragma user_version = 1;
"""


@pytest.mark.bound(180)
def test_database_of_the_first_version(daemon, echo):
    """A large one is taken over with all its rows, and while that takes its
    time users are served and orders are kept."""
    d = daemon("alone", daemon={"retention_days": 0}, tunnels=[
        {"name": "web", "listen": "127.0.0.1:0", "connect": echo.address}])
    with contextlib.closing(sqlite3.connect(d.database)) as db:
        db.executescript(FIRST)
    put_many(d.database)
    d.start()
    d.freeze_ports()
    entry = d.tunnel("web")["listen"]
    began = time.monotonic()
    count = 0
    while d.ledger()["state"] != "ok" or not count:
        round_trip(entry)
        count += 1
        assert time.monotonic() - began < 60 * FACTOR
    assert d.ctl("disable", "web")["changed"] is True

    def taken_over():
        with contextlib.suppress(AdminError):   # it says why not yet
            return d.admin("history", limit=1)[0]["tunnel"] == "web"
    wait_until(taken_over, 60, "the history of old and new", 0.2)
    assert len(d.ctl("history", "-r", "closed", "--until", "2026-06-01", "-n",
                     "10000")) == 10000
    both = d.ctl("stats", "--utc", "--since", "2026-03-01", "--until",
                 "2026-06-01")
    assert sum(r["sessions"] for r in both["stats"]) == MANY
    assert min(r["id"] for r in d.history(tunnel="web")) >= 6000000
    d.stop()
    d.start()
    assert d.tunnel("web")["disabled"]
    assert not [name for name in os.listdir(d.directory)
                if "damaged" in name]


def test_old_rows_go_in_small_steps(daemon, echo):
    """What retention removes is removed while all else goes on."""
    d = daemon("alone", daemon={"retention_days": 0}, tunnels=[
        {"name": "web", "listen": "127.0.0.1:0",
         "connect": echo.address}]).start()
    d.stop()
    put_many(d.database)
    d.config["daemon"]["retention_days"] = 30
    d.start()
    entry = d.tunnel("web")["listen"]
    counts = [MANY]

    def fewer():
        began = time.monotonic()
        round_trip(entry)
        d.ctl("history", "-n", "5")
        assert d.ctl("disable", "web")["changed"]
        assert d.ctl("enable", "web")["changed"]
        assert time.monotonic() - began < 10 * FACTOR
        counts.append(d.query("select count(*) as n from sessions where "
                              "tunnel != 'web'")[0]["n"])
        return counts[-1] < MANY - 5000
    wait_until(fewer, 30, "thousands of rows to go")
    assert len(set(counts)) > 2, counts
    assert d.ledger()["state"] == "ok"
