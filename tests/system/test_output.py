# SPDX-License-Identifier: ISC
"""What tunnelctl writes: tables, colours, exact values, chosen columns, and
what it says of a slip of the fingers."""

import csv
import io
import os
import re
import unicodedata

import pytest

import harness
from harness import TUNNELCTL, reverse, run, wait_until
from past import make_sessions, put
from services import ask, connect, refused_user, round_trip
from tool import ESCAPE, clean_env, on_terminal, tool, tool_on_terminal

LONG = "a-name-as-long-as-a-name-may-be-and-not-one-letter-longer-than-64"
LONG = LONG[:64]
TABLES = [
    ["status"], ["peers"], ["tunnels"], ["sessions"], ["history"],
    ["history", "links"], ["history", "changes"], ["stats"],
    ["stats", "--by", "tunnel", "--per", "hour"],
    ["stats", "--by", "source"], ["stats", "--by", "link"],
]


@pytest.fixture
def busy(pair, echo, closing):
    """A pair with something to show in every table, in names as long as they
    may be, a peer that never came and a service that refuses."""
    p = pair("tls", [reverse(LONG, echo.address),
                     reverse("bad", "127.0.0.1:%d" % harness.free_port())],
             edge_tunnels=[{"name": "own", "listen": "127.0.0.1:0",
                            "connect": echo.address}],
             edge={"daemon": {"log_level": "notice", "retention_days": 0}})
    p.edge.stop()
    p.edge.config["peers"].append({
        "name": LONG[::-1], "security": "tls",
        "secret_file": p.edge.write_secret("absent", harness.new_secret())})
    p.edge.config["gateway"]["listen"] = [p.home.config["peers"][0]
                                          ["connect"]]
    rows = make_sessions(30)
    put(p.edge.database, "sessions", rows)
    p.edge.start()
    p.wait_up()
    for source in ("127.0.0.1", "127.100.100.100"):
        round_trip(p.entry(LONG), source=source)
        ask(closing(connect(p.entry(LONG), source=source)))
    refused_user(p.entry("bad"))
    round_trip(p.edge.tunnel("own")["listen"])
    p.edge.ctl("disable", "own")
    p.edge.ctl("disconnect", "home")
    p.wait_up()
    wait_until(lambda: len(p.edge.admin("changes")) == 2, 10, "the changes")
    p.edge.closed(34)
    return p


def width(line):
    """The columns that a line takes on a terminal."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1
               for c in ESCAPE.sub("", line))


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_tables_fit_the_terminal(busy, columns):
    """No line is longer, whatever the names are; the rows are all there; the
    same if only COLUMNS says so, and colours take no room."""
    wide = []
    for words in TABLES:
        for env in ({}, {"NO_COLOR": "1"}, {"LANG": "C", "LC_ALL": "C"}):
            status, text = tool_on_terminal(busy.edge, *words,
                                            columns=columns, env=env)
            assert status == 0, text
            assert text.strip(), words
            wide += [(words, env, line) for line in text.splitlines()
                     if width(line) > columns]
        status, text = tool_on_terminal(
            busy.edge, *words, columns=200, env={"COLUMNS": str(columns)})
        wide += [(words, "COLUMNS", line) for line in text.splitlines()
                 if width(line) > columns]
    assert not wide, "\n".join(map(str, wide))
    text = tool_on_terminal(busy.edge, "sessions", columns=columns)[1]
    assert len(text.splitlines()) == 3
    for row in busy.edge.sessions():
        assert str(row["id"]) in text


def test_nothing_is_cut_in_a_pipe(busy):
    """No terminal: whole names, whatever COLUMNS says."""
    for env in ({}, {"COLUMNS": "40"}):
        said = tool(busy.edge, "tunnels", env=env).out
        assert LONG in said
    assert LONG[::-1] in tool(busy.edge, "peers").out


def test_colour(busy):
    """Only on a terminal, and never with NO_COLOR."""
    for words in (["status"], ["peers"], ["tunnels"]):
        coloured = tool_on_terminal(busy.edge, *words, columns=300)[1]
        assert "\x1b[" in coloured, words
        for env in ({"NO_COLOR": "1"}, {"NO_COLOR": "0"}):
            plain = tool_on_terminal(busy.edge, *words, columns=300,
                                     env=env)[1]
            assert "\x1b" not in plain, words
    for words in TABLES + [["help"], ["session", "1"]]:
        for extra in ([], ["--json"]):
            assert "\x1b" not in tool(busy.edge, *words, *extra,
                                      status=None).text
    for option in ("--json", "--csv"):
        assert "\x1b" not in tool_on_terminal(busy.edge, option, "peers")[1]


def test_exact_numbers(pair, echo):
    """Human sizes and ages, unless --bytes and --utc."""
    p = pair("plain", [reverse("web", echo.address)])
    round_trip(p.entry("web"), b"x" * 1234567)
    row = p.edge.closed(1)[0]
    words = ["history", "--columns", "up_bytes,closed_at"]
    human = tool(p.edge, *words).out
    assert "1234567" not in human and re.search(r"1\.[12] ?M", human), human
    exact = tool(p.edge, "--bytes", *words).out
    assert "1234567" in exact
    second = row["closed_at"][:19]
    assert second[:10] not in tool(p.edge, "history").out
    for text in (tool(p.edge, "--utc", *words).out,
                 tool(p.edge, *words, "--utc", env={"TZ": "XYZ-5"}).out):
        assert second in text or second.replace("T", " ") in text, text
    assert second[:10] in tool(p.edge, "--utc", "history").out
    both = tool(p.edge, "--utc", "--bytes", "history").out
    assert "1234567" in both and row["opened_at"][11:19] in both
    assert re.search(r"\d/s up", tool(p.edge, "--bytes", "status").out)
    # Of times that are exact to the millisecond nothing more exact is made.
    said = tool(p.edge, "--csv", "history", "--columns", "age,duration").out
    for number in said.splitlines()[1].split(","):
        assert re.fullmatch(r"\d+\.\d{1,3}", number), said
    said = tool(p.edge, "--utc", "status").out
    assert re.search(r"20\d\d-\d\d-\d\d[T ]\d\d:\d\d:\d\d", said), said


def test_columns(busy):
    """Those and no others, in that order; the same names everywhere."""
    d = busy.edge
    said = tool(d, "--csv", "sessions", "--columns", "tunnel,id,source").out
    table = list(csv.reader(io.StringIO(said)))
    assert table[0] == ["tunnel", "id", "source"]
    for line, row in zip(table[1:], d.sessions()):
        assert line == [row["tunnel"], str(row["id"]), row["source"]]
    text = tool(d, "sessions", "--columns", "id,tunnel").out.splitlines()
    assert len(text[0].split()) == 2 and len(text) == 3
    for line, row in zip(text[1:], d.sessions()):
        assert line.split() == [str(row["id"]), row["tunnel"]]
    text = tool(d, "--columns", "tunnel,id", "sessions").out.splitlines()
    assert text[1].split()[0] == LONG
    for words in (["peers", "--columns", "name,rtt_ms"],
                  ["history", "--columns", "age,duration,id"],
                  ["history", "links", "--columns", "peer,away,reason"],
                  ["history", "changes", "--columns", "uid,command"],
                  ["stats", "--by", "tunnel", "--columns", "tunnel,p95"]):
        header = tool(d, "--csv", *words).out.splitlines()[0]
        assert header == words[-1], words
    for words in (["sessions"], ["history"], ["peers"],
                  ["stats", "--by", "peer"]):
        names = tool(d, "--csv", *words).out.splitlines()[0].split(",")
        for option in ([], ["--csv"]):
            said = tool(d, *option, *words, "--columns",
                        names[0] + ",no_such", status=2)
            assert "no_such" in said.err and not said.out
            for name in names:
                assert name in said.err, (words, name, said.err)
    for bad in ("", ",", "id,,tunnel", "id tunnel"):
        assert tool(d, "sessions", "--columns", bad, status=2).err


def test_csv_holds_all_columns(busy):
    """Whatever the JSON says of any row, but for objects, has a column."""
    for words in (["sessions"], ["peers"], ["tunnels"], ["history"],
                  ["history", "links"], ["stats", "--by", "source"]):
        told = {key for row in busy.edge.ctl(*words)
                for key, value in row.items()
                if value is not None and not isinstance(value, dict)}
        header = tool(busy.edge, "--csv", *words).out.splitlines()[0]
        assert told <= set(header.split(",")), words


# --- slips ----------------------------------------------------------------

def test_suggestions(busy):
    """The near one is named: of a command, an option, a tunnel, a peer."""
    d = busy.edge
    for wrong, right in (("sesions", "sessions"), ("hsitory", "history"),
                         ("kil", "kill"), ("tunels", "tunnels"),
                         ("disconect", "disconnect"), ("evnts", "events"),
                         ("statu", "status")):
        said = tool(d, wrong, status=None)
        if said.status == 0:    # an abbreviation
            assert right.startswith(wrong)
            continue
        assert said.status == 2 and right in said.err, said
    for words, right in ((["history", "--tunel", "x"], "--tunnel"),
                         (["kill", "--dryrun", "-t", "x"], "--dry-run"),
                         (["--jsn", "status"], "--json"),
                         (["history", "--min-byte=5", "--sicne", "1h"],
                          "--since")):
        said = tool(d, *words, status=2)
        assert right in said.err, said
    for words, right in ((["kill", "-t", "onw"], "own"),
                         (["disable", "onw"], "own"),
                         (["test", "bda"], "bad"),
                         (["disconnect", "hom"], "home"),
                         (["ping", "hoem"], "home"),
                         (["kill", "--peer", "hme"], "home")):
        said = tool(d, *words, status=1)
        assert right in said.err, said
    said = tool(d, "log-level", "debgu", status=None)
    assert said.status in (1, 2) and "debug" in said.err
    said = tool(d, "xyzzy", status=2)
    assert "did you mean" not in said.err.lower()


def test_exit_status(busy):
    """0, 1, 2, 3 of every new command."""
    d = busy.edge
    for words in (["disable", "bad"], ["enable", "bad"], ["ping", "home"],
                  ["test", LONG], ["log-level", "info"], ["config"],
                  ["stats"], ["history", "links"], ["history", "changes"],
                  ["completion", "bash"], ["completion", "zsh"],
                  ["kill", "-t", LONG], ["disconnect", "home"]):
        tool(d, *words)
    for words in (["test", "bad"], ["ping", LONG[::-1]],
                  ["disconnect", LONG[::-1]], ["disable", "none"],
                  ["enable", "none"], ["kill", "2147483647"]):
        said = tool(d, *words, status=1)
        assert said.err or words[0] == "test", said
    for words in (["disable"], ["enable"], ["ping"], ["test"],
                  ["disconnect"], ["log-level"], ["completion"],
                  ["completion", "fish"], ["history", "weather"],
                  ["stats", "--by", "moon"], ["stats", "--per", "year"],
                  ["events", "--kind", "weather"], ["status", "--since",
                                                    "1h"],
                  ["kill", "--reason", "x"], ["history", "--older", "1h"],
                  ["history", "--min-bytes", "x"], ["--json", "--csv",
                                                    "peers"]):
        said = tool(d, *words, status=2)
        assert said.err and not said.out, said
    for words in (["disable", "x"], ["history"], ["events"], ["stats"],
                  ["ping", "x"], ["config"], ["watch"]):
        status = run(TUNNELCTL, "-s", "/nonexistent/socket", *words,
                     check=False, env=clean_env())
        assert status.returncode == 3, (words, status)
        assert status.stderr


# --- what it says of itself -----------------------------------------------

MAN = os.path.join(harness.ROOT, "man", "tunnelctl.8")


def commands():
    """The commands that the help names."""
    said = run(TUNNELCTL, "help").stdout
    part = said.split("Commands", 1)[1].split("Options", 1)[0]
    return {m.group(1) for m in re.finditer(r"(?m)^  ([a-z][a-z-]*)\b", part)}


def help_options(*words):
    return set(re.findall(r"(?<![\w-])--([a-z][a-z-]+)",
                          run(TUNNELCTL, *words, "--help").stdout))


def test_help_and_manual_agree():
    """The same commands, and the same options of each."""
    with open(MAN) as file:
        man = file.read()
    listed = re.search(r"(?s)\.Sh COMMANDS(.*?)\n\.Sh ", man).group(1)
    named = set(re.findall(r"(?m)^\.It Ic ([a-z][a-z-]*)", listed))
    assert named == commands()
    assert named >= {
        "status", "peers", "tunnels", "sessions", "session", "kill",
        "disconnect", "disable", "enable", "history", "stats", "events",
        "watch", "test", "ping", "log-level", "config", "completion"}
    in_man = set(re.findall(r"Fl -([a-z][a-z-]+)", man))
    everywhere = help_options()
    for command in sorted(named):
        of_it = help_options(command)
        assert of_it, command
        assert of_it <= in_man, (command, of_it - in_man)
        everywhere |= of_it
    assert in_man <= everywhere, in_man - everywhere
    assert everywhere >= {
        "json", "csv", "columns", "bytes", "utc", "socket", "tunnel", "peer",
        "source", "older", "idle", "dry-run", "kill", "limit", "reason",
        "since", "until", "min-bytes", "database", "by", "per", "kind"}


def test_help_fits_a_terminal():
    """80 columns are enough for every help."""
    for words in [["help"]] + [[c, "--help"] for c in sorted(commands())]:
        status, text = on_terminal([TUNNELCTL] + words)
        assert status == 0
        assert all(width(line) <= 80 for line in text.splitlines()), words
