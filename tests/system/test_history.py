# SPDX-License-Identifier: ISC
"""What was: history, links, changes and stats, against a past whose every
row is known, and against what really happened."""

import contextlib
import time

import pytest

from adminsocket import Admin, AdminError
from harness import FACTOR, forward, free_port, reverse, wait_until
from past import (DAY, DAY0, HOUR, US, check_stats, clear, make_sessions, put,
                  seconds, stamp)
from services import PATTERN, ask, connect, refused_user, reset, round_trip
from test_endings import me
from tool import tool


@pytest.fixture
def past(daemon):
    """A daemon that remembers 600 sessions of March 2026, all of them known:
    d.rows."""
    d = daemon("alone", daemon={"retention_days": 0}).start()
    d.stop()
    clear(d.database)
    d.rows = make_sessions(600)
    put(d.database, "sessions", d.rows)
    return d.start()


def total(row):
    return row["up_bytes"] + row["down_bytes"]


FILTERS = [
    ([], lambda r: True),
    (["-t", "ssh"], lambda r: r["tunnel"] == "ssh"),
    (["--tunnel", "shed/ssh"], lambda r: (r["peer"], r["tunnel"]) ==
     ("shed", "ssh")),
    (["-t", "cache"], lambda r: r["tunnel"] == "cache"),
    (["-t", "gone"], lambda r: False),
    (["-p", "home"], lambda r: r["peer"] == "home"),
    (["--peer", "gone"], lambda r: False),
    (["-S", "192.0.2.7"], lambda r: r["source_host"] == "192.0.2.7"),
    (["--source", "2001:db8::7"],
     lambda r: r["source_host"] == "2001:db8::7"),
    (["-S", "[2001:db8::7]"], lambda r: r["source_host"] == "2001:db8::7"),
    (["-r", "denied"], lambda r: r["close_reason"] == "denied"),
    (["--reason", "closed"], lambda r: r["close_reason"] == "closed"),
    (["--since", "2026-03-02T12:00:00Z"],
     lambda r: r["opened_at"] >= DAY0 + DAY + 12 * HOUR),
    (["--until", "2026-03-02"], lambda r: r["opened_at"] < DAY0 + DAY),
    (["--min-bytes", "1M"], lambda r: total(r) >= 1 << 20),
    (["--min-bytes", "2.5K"], lambda r: total(r) >= 2560),
    (["--min-bytes", "70000"], lambda r: total(r) >= 70000),
    (["-t", "home/ssh", "-S", "10.1.2.3"], lambda r:
     (r["tunnel"], r["peer"], r["source_host"]) ==
     ("ssh", "home", "10.1.2.3")),
    (["-t", "db", "-r", "killed"], lambda r:
     (r["tunnel"], r["close_reason"]) == ("db", "killed")),
    (["-p", "shed", "--since", "2026-03-03", "--until", "2026-03-04"],
     lambda r: r["peer"] == "shed" and
     DAY0 + 2 * DAY <= r["opened_at"] < DAY0 + 3 * DAY),
    (["-S", "192.0.2.8", "--min-bytes", "100K", "-r", "closed"], lambda r:
     r["source_host"] == "192.0.2.8" and total(r) >= 102400 and
     r["close_reason"] == "closed"),
    (["--since", "2026-03-02 18:00", "--min-bytes", "1M"], lambda r:
     r["opened_at"] >= DAY0 + DAY + 18 * HOUR and total(r) >= 1 << 20),
]


def test_filters(past):
    """Every filter alone and some together find those and only those, newest
    first, and as they were."""
    for words, fits in FILTERS:
        wanted = [r for r in past.rows if fits(r)]
        rows = past.ctl("history", "--utc", "-n", 10000, *words)
        assert {r["id"] for r in rows} == {r["id"] for r in wanted}, words
        assert len(rows) == len(wanted)
        times = [r["opened_at"] for r in rows]
        assert times == sorted(times, reverse=True), words
        short = past.ctl("history", "--utc", "-n", 7, *words)
        assert short == rows[:7], words
    known = {r["id"]: r for r in past.rows}
    for row in past.ctl("history", "-n", 10000):
        was = known[row["id"]]
        for key in ("tunnel", "end", "source", "target", "up_bytes",
                    "down_bytes", "close_reason", "closed_by"):
            assert row[key] == was[key], (key, row)
        assert row["peer"] == (was["peer"] or None)
        assert row["uid"] == was["uid"].hex()
        assert row["opened_at"] == stamp(was["opened_at"])
        assert row["closed_at"] == stamp(was["closed_at"])
        assert row["state"] == "closed"


def test_limits(past):
    assert len(past.ctl("history")) == 100
    assert len(past.ctl("history", "--limit", 101)) == 101
    assert len(past.admin("history", limit=10000)) == 600
    for bad in ("0", "-1", "10001", "x", "", "1.5"):
        assert tool(past, "history", "-n", bad, status=2).err
    for args in ({"limit": 0}, {"limit": -1}, {"limit": "5"},
                 {"limit": 10001}, {"min_bytes": -1}, {"since": "x"},
                 {"tunnel": 5}, {"source": []}, {"reason": {}}):
        with pytest.raises(AdminError) as error:
            past.admin("history", **args)
        assert error.value.code == "bad_request", args


def test_bounds_of_time(past):
    """since belongs to it, until does not; to the millisecond."""
    row = sorted(past.rows, key=lambda r: r["opened_at"])[300]
    at = stamp(row["opened_at"])
    since = past.ctl("history", "-n", 10000, "--since", at)
    until = past.ctl("history", "-n", 10000, "--until", at)
    assert row["id"] in {r["id"] for r in since}
    assert row["id"] not in {r["id"] for r in until}
    assert len(since) + len(until) == 600


def test_forms_of_time(past):
    """Local time unless said otherwise, whatever the zone."""
    def first(*words, zone="UTC0"):
        rows = tool(past, "--json", "history", "-n", 10000, *words,
                    env={"TZ": zone}).json
        return len(rows)

    def since(us):
        return len([r for r in past.rows if r["opened_at"] >= us])
    east, west = "XYZ-5", "ABC7:30"     # UTC+5, UTC-7:30
    at = DAY0 + DAY
    for text in ("2026-03-02", "2026-03-02 00:00", "2026-03-02 00:00:00",
                 "2026-03-02T00:00:00", "2026-03-02T00:00:00Z"):
        assert first("--since", text) == since(at), text
        assert first("--utc", "--since", text, zone=east) == since(at), text
        moved = 0 if text.endswith("Z") else 1
        assert first("--since", text, zone=east) == \
            since(at - moved * 5 * HOUR), text
        assert first("--since", text, zone=west) == \
            since(at + moved * (7 * HOUR + HOUR // 2)), text
    assert first("--since", "2026-03-02 14:30:05") == \
        since(at + 14 * HOUR + 1805 * US)
    for text in ("yesterday", "2026-13-01", "2026-02-30", "14:00", "",
                 "2026-03-02 25:00", "2026-03-02Zz", "-2h", "2 h", "2y",
                 "2026-03-02 14"):
        said = tool(past, "history", "--since", text, status=2)
        assert said.err and not said.out, text
        tool(past, "history", "--until", text, status=2)


@pytest.fixture
def recent(daemon):
    """One session 30 minutes ago, and 90, and 26 hours, 8 days, 40 days."""
    d = daemon("alone").start()
    d.stop()
    now = int(time.time()) * US
    rows = make_sessions(5)
    for row, ago in zip(rows, (1800, 5400, 26 * 3600, 8 * 86400,
                               40 * 86400)):
        row.update(opened_at=now - ago * US, closed_at=now - ago * US + US,
                   tunnel="ssh", peer="home", up_bytes=ago, down_bytes=0)
    put(d.database, "sessions", rows)
    return d.start()


def test_durations(recent):
    def ages(*words):
        return [r["up_bytes"] for r in recent.ctl("history", *words)]
    for text, count in (("1h", 1), ("3600", 1), ("3600s", 1), ("60m", 1),
                        ("2h", 2), ("2d", 3), ("1w", 3), ("2w", 4),
                        ("50d", 5), ("10w", 5)):
        assert len(ages("--since", text)) == count, text
        assert len(ages("--until", text)) == 5 - count, text
    assert ages("--since", "2d", "--until", "1h") == [5400, 26 * 3600]
    # Without --since, stats are of the last 24 hours.
    both = recent.ctl("stats")
    assert [r["sessions"] for r in both["stats"]] == [2]
    assert recent.ctl("stats", "--by", "tunnel") == both["stats"]
    assert recent.ctl("stats", "--by", "tunnel", "--since",
                      "2d")[0]["sessions"] == 3


# --- stats ----------------------------------------------------------------

SINCE = ["--utc", "--since", "2026-03-01", "-n", "10000"]


@pytest.mark.parametrize("by", ["tunnel", "peer", "source"])
def test_stats(past, by):
    """To the last byte, for all of the time, each day and each hour, and with
    filters."""
    for per in ("all", "day", "hour"):
        words = [] if per == "all" else ["--per", per]
        answer = past.ctl("stats", *SINCE, "--by", by, *words)
        check_stats(answer, past.rows, by, per)
        spans = [r["from"] for r in answer]
        if per == "all":
            assert set(spans) == {None}
        assert per == "all" or spans == sorted(spans, reverse=True)
        loads = [r["up_bytes"] + r["down_bytes"] for r in answer
                 if r["from"] == answer[0]["from"]]
        assert loads == sorted(loads, reverse=True)
    for words, fits in (
            (["-t", "home/ssh"],
             lambda r: (r["tunnel"], r["peer"]) == ("ssh", "home")),
            (["-p", "shed"], lambda r: r["peer"] == "shed"),
            (["-S", "10.1.2.3"], lambda r: r["source_host"] == "10.1.2.3"),
            (["--until", "2026-03-02 07:30"],
             lambda r: r["opened_at"] < DAY0 + DAY + 15 * HOUR // 2)):
        answer = past.ctl("stats", *SINCE, "--by", by, "--per", "day",
                          *words)
        check_stats(answer, [r for r in past.rows if fits(r)], by, "day")


def test_stats_of_real_sessions(pair, echo):
    """Open ones count too, a refused one failed; the numbers are those of
    the database."""
    p = pair("plain", [reverse("web", echo.address),
                       reverse("bad", "127.0.0.1:%d" % free_port())])
    for size in (10, 1000, 100000):
        round_trip(p.entry("web"), PATTERN[:size])
    refused_user(p.entry("bad"))
    with connect(p.entry("web"), source="127.0.0.9") as user:
        ask(user, b"abc")
        p.edge.closed(4)

        def written():
            rows = p.edge.query("select * from sessions")
            return rows if sum(r["up_bytes"] for r in rows) == 101013 else 0
        rows = wait_until(written, 20, "the counters of the open one")
        for by in ("tunnel", "peer", "source"):
            answer = p.edge.ctl("stats", "--by", by)
            check_stats(answer, rows, by)
        both = {r["tunnel"]: r for r in p.edge.ctl("stats")["stats"]}
        assert both["web"]["sessions"] == 4 and both["web"]["failed"] == 0
        assert both["bad"]["sessions"] == 1 and both["bad"]["failed"] == 1
        said = tool(p.edge, "stats").out
        assert "web" in said and "bad" in said and "home" in said


# --- links ----------------------------------------------------------------

RUNS = [(1, 0, 2 * DAY), (2, 3 * DAY, 4 * DAY)]
LINKS = [   # run, id, peer, up, down, reason
    (1, 1, "home", HOUR, 13 * HOUR, "no answer for 30 s"),
    (1, 2, "home", 14 * HOUR, 2 * DAY, "shutdown"),
    (1, 3, "shed", 0, 12 * HOUR, "connection reset"),
    (2, 1, "home", 3 * DAY, 3 * DAY + 12 * HOUR, "no answer for 30 s"),
]


@pytest.fixture
def links(daemon):
    d = daemon("alone", daemon={"retention_days": 0}).start()
    d.stop()
    clear(d.database)
    put(d.database, "runs", [
        {"id": run, "daemon": "alone", "version": "0", "pid": 1,
         "started_at": DAY0 + begin, "seen_at": DAY0 + end,
         "ended_at": DAY0 + end, "how": "stopped"}
        for run, begin, end in RUNS])
    put(d.database, "links", [
        {"run": run, "id": number, "peer": peer, "address": "192.0.2.1:7000",
         "up_at": DAY0 + up, "down_at": DAY0 + down, "reason": reason}
        for run, number, peer, up, down, reason in LINKS])
    return d.start()


def test_links_of_the_past(links):
    """When was a peer away, for how long, why."""
    def found(*words):
        rows = links.ctl("history", "links", "--utc", *words)
        return [(r["peer"], round(seconds(r["up_at"]) * US) - DAY0)
                for r in rows]
    every = [("home", 3 * DAY), ("home", 14 * HOUR), ("home", HOUR),
             ("shed", 0)]
    assert found() == every
    assert found("-n", "2") == every[:2]
    assert found("-p", "shed") == every[3:]
    assert found("-r", "no answer for 30 s") == [every[0], every[2]]
    assert found("-p", "home", "-r", "shutdown") == [every[1]]
    # A link is found if any of its life is in it.
    assert found("--since", "2026-03-02") == every[:2]
    assert found("--until", "2026-03-01 00:30") == every[3:]
    assert found("--since", "2026-03-01 12:30", "--until",
                 "2026-03-01 13:30") == [every[2]]
    row = next(r for r in links.ctl("history", "links")
               if r["up_at"] == stamp(DAY0 + HOUR))
    assert row["down_at"] == stamp(DAY0 + 13 * HOUR)
    assert row["back_at"] == stamp(DAY0 + 14 * HOUR)
    assert (row["up"], row["away"]) == (12 * 3600, 3600)
    assert row["reason"] == "no answer for 30 s"
    assert row["address"] == "192.0.2.1:7000"
    last = links.ctl("history", "links", "-p", "shed")[0]
    assert last["back_at"] is None
    assert last["away"] > time.time() - (DAY0 + 13 * HOUR) / US


def test_uptime_of_the_past(links):
    """Up of the time in which this daemon was running."""
    def uptime(*words):
        rows = links.ctl("stats", "--by", "link", "--utc", *words)
        return {(r["peer"], r["from"]): r for r in rows}
    rows = uptime("--since", "2026-03-01", "--until", "2026-03-02 12:00")
    home = rows["home", None]
    assert (home["known"], home["up"]) == (36 * 3600, 34 * 3600)
    assert abs(home["percent"] - 100 * 34 / 36) < 0.01
    assert home["downs"] == 1
    assert abs(rows["shed", None]["percent"] - 100 * 12 / 36) < 0.01
    days = uptime("--since", "2026-03-01", "--until", "2026-03-05", "--per",
                  "day")
    percents = {}
    for (peer, begin), row in days.items():
        if peer == "home":
            percents[begin[:10]] = (row["up"] / 3600, row["known"] / 3600)
    assert percents["2026-03-01"] == (22, 24)
    assert percents["2026-03-02"] == (24, 24)
    assert percents["2026-03-04"] == (12, 24)
    assert percents.get("2026-03-03", (0, 0)) == (0, 0)
    both = links.ctl("stats", "--utc", "--since", "2026-03-01", "--until",
                     "2026-03-02 12:00")
    assert set(both) == {"stats", "links"}
    assert {r["peer"] for r in both["links"]} == {"home", "shed"}


def test_a_real_outage(pair, echo):
    """Still away: it says so, and for how long; then how long it was."""
    p = pair("plain", [reverse("web", echo.address)])
    up = p.edge.admin("links")[0]
    assert up["down_at"] is None and up["reason"] is None
    assert up["away"] is None and up["up"] >= 0
    assert up["address"] == p.edge.peer()["address"]
    p.home.kill()
    p.edge.wait_not_up()

    def away():
        row = p.edge.admin("links")[0]
        return row if row["down_at"] and row["away"] > 1 else None
    row = wait_until(away, 15, "a second of absence")
    assert row["back_at"] is None and row["reason"]
    assert abs(row["up"] - (seconds(row["down_at"]) -
                            seconds(row["up_at"]))) < 0.01
    assert p.edge.admin("links")[0]["away"] > row["away"]
    assert row["reason"] in tool(p.edge, "history", "links").out
    p.home.start()
    p.wait_up()
    rows = wait_until(lambda: (lambda r: len(r) == 2 and r)(
        p.edge.admin("links")), 10, "the second link")
    assert rows[1]["back_at"] == rows[0]["up_at"]
    assert abs(rows[1]["away"] - (seconds(rows[0]["up_at"]) -
                                  seconds(rows[1]["down_at"]))) < 0.01
    link = p.edge.ctl("stats")["links"][0]
    run, = p.edge.query("select * from runs")
    known = time.time() - run["started_at"] / US
    assert abs(link["known"] - known) < 3 * FACTOR
    assert link["downs"] == 1 and 0 < link["percent"] < 100
    assert abs(link["percent"] - 100 * link["up"] / link["known"]) < 0.01
    assert abs(known - link["up"] - rows[1]["away"]) < 3 * FACTOR


# --- what really happened -------------------------------------------------

def test_reasons(pair, echo):
    """Sessions that ended in different ways are found by their reason."""
    p = pair("tls", [reverse("web", echo.address),
                     forward("db", "127.0.0.1:%d" % free_port())])
    round_trip(p.entry("web"))
    user = connect(p.entry("web"), source="127.0.0.5")
    ask(user)
    reset(user)
    p.edge.closed(2)
    with connect(p.entry("web")) as user:
        ask(user)
        p.edge.ctl("kill", "-t", "web")
    refused_user(p.entry("db"))
    p.edge.closed(4)
    for reason, tunnel in (("closed", "web"), ("reset", "web"),
                           ("killed", "web"), ("refused", "db")):
        row, = p.edge.ctl("history", "--reason", reason)
        assert (row["close_reason"], row["tunnel"]) == (reason, tunnel)
    assert p.edge.ctl("history", "-r", "killed_by_peer") == []
    assert len(p.home.closed(1, reason="killed_by_peer")) == 1
    row, = p.edge.ctl("history", "-S", "127.0.0.5")
    assert row["close_reason"] == "reset"


def test_changes(daemon, echo):
    """Who changed what, newest first."""
    d = daemon("alone", tunnels=[
        {"name": "web", "listen": "127.0.0.1:0",
         "connect": echo.address}]).start()
    began = time.time()
    d.ctl("disable", "web")
    d.ctl("enable", "web")
    d.ctl("log-level", "debug")
    rows = wait_until(lambda: (lambda r: len(r) >= 3 and r)(
        d.ctl("history", "changes")), 10, "three changes")
    assert [r["command"] for r in rows] == ["log-level", "enable", "disable"]
    for row in rows:
        assert set(row) >= {"at", "uid", "by", "command", "detail"}
        assert row["by"].startswith(me())
        assert began - 1 < seconds(row["at"]) < time.time() + 1
    assert "web" in rows[2]["detail"] and "debug" in rows[0]["detail"]
    assert d.ctl("history", "changes", "-n", "1") == rows[:1]
    assert d.ctl("history", "changes", "--since", "1h") == rows
    assert d.ctl("history", "changes", "--until", "1h") == []
    said = tool(d, "history", "changes").out
    assert "disable" in said and me() in said
    d.stop()
    d.start()
    assert d.ctl("history", "changes") == rows


def can_have(client, count):
    try:
        return len(client("history", limit=count)) == count
    except AdminError:
        return False


def test_takers_of_long_lists_are_bounded(daemon):
    """Many who ask for much and take next to nothing of it cost a bounded
    amount of memory, and a short answer is to be had all the same."""
    d = daemon("alone", daemon={"retention_days": 0}).start()
    d.stop()
    clear(d.database)
    put(d.database, "sessions", make_sessions(10000))
    d.start()
    before = d.rss_kib()
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(contextlib.closing(Admin(d.admin_path)))
                for _ in range(40)]
        for client in slow:
            client.send_line('{"id": 1, "cmd": "history", "args": '
                             '{"limit": 10000}}\n')
        answers = [client.read_line() for client in slow]
        refused = [a["error"]["code"] for a in answers if not a["ok"]]
        assert 0 < len(refused) < 40 and set(refused) == {"unavailable"}
        assert d.rss_kib() - before < 200 * 1024 or FACTOR > 1
        other = stack.enter_context(contextlib.closing(Admin(d.admin_path)))
        assert can_have(other, 100)
        for client in slow:
            client.close()
        wait_until(lambda: can_have(other, 9000), 10, "their rows to go")


def test_uptime_of_a_peer_that_never_was_up(pair_of):
    """The ledger knows nothing of it; who asks needs it most."""
    p = pair_of("tls")
    p.edge.start()              # nobody dials it
    rows = p.edge.ctl("stats", "--by", "link")
    assert [(r["peer"], r["up"], r["percent"], r["downs"])
            for r in rows] == [("home", 0, 0, 0)]
    assert rows[0]["known"] >= 0
    assert p.edge.ctl("stats")["links"][0]["peer"] == "home"
    p.point_home(p.edge.gateway())
    p.home.start()
    p.edge.wait_up("home")
    rows = p.edge.ctl("stats", "--by", "link")
    assert [r["peer"] for r in rows] == ["home"]
