# SPDX-License-Identifier: ISC
"""A past that never was, written into the database of a stopped daemon; and
what the questions about it must be answered, counted the slow way."""

import contextlib
import datetime
import math
import random
import sqlite3

US = 1000000
HOUR = 3600 * US
DAY = 24 * HOUR
DAY0 = 1772323200 * US      # 2026-03-01T00:00:00Z
SERVED = {"closed", "reset", "idle_timeout", "killed", "killed_by_peer",
          "shutdown", "daemon_lost"}
COLUMNS = ("id", "uid", "run", "tunnel", "peer", "type", "end", "source",
           "source_host", "target", "opened_at", "closed_at", "up_bytes",
           "down_bytes", "close_reason", "closed_by")


def stamp(us):
    """Microseconds as the protocol writes a time."""
    when = datetime.datetime.fromtimestamp(us // US, datetime.timezone.utc)
    return when.strftime("%Y-%m-%dT%H:%M:%S") + ".%03dZ" % (us % US // 1000)


def seconds(text):
    """And back."""
    return datetime.datetime.fromisoformat(
        text.replace("Z", "+00:00")).timestamp()


def make_sessions(count, days=4, seed=4711):
    """Sessions of all kinds, over so many days from DAY0 on."""
    chance = random.Random(seed)
    rows = []
    for number in range(count):
        tunnel, peer, end = chance.choice(
            [("ssh", "home", "entry"), ("ssh", "shed", "entry"),
             ("db", "home", "exit"), ("cache", "", "local")])
        host = chance.choice(["192.0.2.7", "192.0.2.8", "10.1.2.3",
                              "2001:db8::7"])
        opened = DAY0 + chance.randrange(days * DAY) // 1000 * 1000
        reason = chance.choice(["closed"] * 6 + ["reset", "refused", "denied",
                                                 "killed", "link_down",
                                                 "idle_timeout"])
        rows.append({
            "id": 5000000 + number, "uid": chance.randbytes(16), "run": 1,
            "tunnel": tunnel, "peer": peer, "type": "tcp", "end": end,
            "source": ("[%s]:%d" if ":" in host else "%s:%d") %
            (host, 1024 + number % 60000),
            "source_host": host, "target": "127.0.0.1:22",
            "opened_at": opened,
            "closed_at": opened + chance.randrange(600 * US) // 1000 * 1000,
            "up_bytes": chance.randrange(1 << chance.randrange(1, 30)),
            "down_bytes": chance.randrange(1 << chance.randrange(1, 30)),
            "close_reason": reason,
            "closed_by": "root (uid 0)" if reason == "killed" else "user"})
    return rows


def put(database, table, rows):
    with contextlib.closing(sqlite3.connect(database)) as db:
        keys = list(rows[0])
        db.executemany("insert into %s (%s) values (%s)" % (
            table, ", ".join(keys), ", ".join("?" * len(keys))),
            ([row[key] for key in keys] for row in rows))
        db.commit()


def clear(database):
    """Only what the test puts in shall be found."""
    with contextlib.closing(sqlite3.connect(database)) as db:
        for table in ("sessions", "links", "runs"):
            db.execute("delete from " + table)
        db.commit()


def nearest_rank(values, part):
    values = sorted(values)
    return values[max(math.ceil(part * len(values)), 1) - 1]


def group_of(row, by, per):
    span = {"all": None, "hour": HOUR, "day": DAY}[per]
    return ({"tunnel": (row["tunnel"], row["peer"]), "peer": row["peer"],
             "source": row["source_host"]}[by],
            row["opened_at"] // span * span if span else None)


def stats(rows, by, per="all"):
    """As `stats` must answer, but in no order: group -> numbers."""
    groups = {}
    for row in rows:
        groups.setdefault(group_of(row, by, per), []).append(row)
    out = {}
    for group, members in groups.items():
        lasted = [(r["closed_at"] - r["opened_at"]) / US for r in members
                  if r["closed_at"]]
        out[group] = {
            "sessions": len(members),
            "failed": len([r for r in members if r["closed_at"] and
                           r["close_reason"] not in SERVED]),
            "up_bytes": sum(r["up_bytes"] for r in members),
            "down_bytes": sum(r["down_bytes"] for r in members),
            "median": nearest_rank(lasted, 0.5) if lasted else None,
            "p95": nearest_rank(lasted, 0.95) if lasted else None}
    return out


def answered_stats(rows, by):
    """The daemon's answer in the same form."""
    out = {}
    for row in rows:
        name = {"tunnel": (row["tunnel"], row["peer"] or ""),
                "peer": row["peer"] or "", "source": row["source"]}[by]
        begin = row["from"] and round(seconds(row["from"]) * US)
        assert (name, begin) not in out, "a group twice"
        out[name, begin] = row
    return out


def check_stats(answer, rows, by, per="all"):
    """The answer is what the slow way gives, to the last byte."""
    wanted = stats(rows, by, per)
    got = answered_stats(answer, by)
    assert set(got) == set(wanted)
    for group, numbers in wanted.items():
        for key, value in numbers.items():
            if key in ("median", "p95") and value is not None:
                assert abs(got[group][key] - value) < 0.002, (group, key)
            else:
                assert got[group][key] == value, (group, key)
