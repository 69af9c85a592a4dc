# SPDX-License-Identifier: ISC
"""Reload as a transaction: each option, what is shown before, and what is
left as it was when something is wrong."""

import grp
import json
import os
import pwd
import signal
import socket
import time

import pytest

import harness
from adminsocket import AdminError
from configs import options, some_group
from harness import free_port, reverse, wait_until
from reloads import (apply, ask_reload, differences, hang_up, is_refused,
                     keys_of, new_lines, peer_of, picture, rich, row_of,
                     said_refused, settled, try_config, tunnel_of)
from scrape import Scrape, where as metrics_at, with_metrics
from services import ask, connect, round_trip
from test_endings import me
from tool import Events, tool

RESTART = {("daemon", "name"), ("daemon", "admin_socket"),
           ("daemon", "database"), ("daemon", "user"),
           ("daemon", "sandbox")}


# --- each option ----------------------------------------------------------

def changed_value(d, section, key, kind, now):
    """Another value of an option that is as good; None: there is none."""
    if section == "daemon" and key == "user":
        user = pwd.getpwnam(harness.ORDINARY_USER)
        os.chmod(d.directory, 0o711)
        for peer in d.config["peers"]:      # he has to read them, too
            if harness.IS_ROOT:
                os.chown(peer["secret_file"], 0, user.pw_gid)
                os.chmod(peer["secret_file"], 0o640)
        return user.pw_name
    if kind == "integer":
        return now + 1
    if kind == "true|false":
        return not now
    if kind == "seconds":
        return now * 0.5 + 1.25
    if kind == "group":
        return some_group(now)
    if kind == "networks":
        return ["127.0.0.0/8", "198.51.100.0/24"]
    if kind == "addresses":
        return now + ["127.0.0.1:%d" % free_port()]
    if kind == "address":
        return "127.0.0.1:%d" % free_port()
    if key == "peer":
        return "away"
    if key == "secret_file":
        path = d.write_secret("another", harness.new_secret())
        assert path != now
        return path
    if kind == "path":
        return now + "2"
    if kind == "name":
        return "another"
    if key == "on_change":
        return "drain:12"
    words = [word for word in kind.split("|") if word != now]
    if "|" in kind or not words:
        return words[0] if words else None
    raise AssertionError("no other value is known for %s.%s (%s)" %
                         (section, key, kind))


class Option:
    """An option at the place where this test changes it."""

    def __init__(self, d, section, key, kind):
        self.section, self.key, self.kind = section, key, kind
        outer = section.split(".")[0]
        self.name = None
        if outer == "peer":
            self.name = "away"
            self.group = peer_of(d, "away")
        elif outer == "tunnel":
            # The one at which the option means something.
            self.name = "home/web" if key == "peer" else "own"
            self.group = tunnel_of(d, self.name.split("/")[-1])
        else:
            self.group = d.config.setdefault(outer, {})
        if "." in section:
            self.group = self.group.setdefault(section.split(".")[1], {})
        self.long_key = ".".join(section.split(".")[1:] + [key])
        self.outer = outer
        self.makes_another = outer in ("peer", "tunnel") and \
            key in ("name", "peer")

    def now(self, config):
        """Its value in what `config` said."""
        if self.outer in ("peer", "tunnel"):
            name = self.name.split("/")[-1]
            group = next(g for g in config[self.outer + "s"]
                         if g["name"] == name)
        else:
            group = config[self.outer]
        for word in self.long_key.split(".")[:-1]:
            group = group[word]
        return group[self.key]


def check_changes(option, changes, before, after):
    """The difference that a dry run shows, and nothing else."""
    if option.makes_another:
        assert sorted((c["what"], c["section"]) for c in changes) == [
            ("added", option.outer), ("removed", option.outer)], changes
        row_of(changes, "removed", option.outer, option.name)
        return
    change = row_of(changes, "changed", option.outer, option.name)
    keys = keys_of(change)
    assert keys.pop(option.long_key) == (before, after), change
    if option.key == "secret_file":
        assert keys.pop("secret", (None, None)) == (None, None)
    restart = (option.section, option.key) in RESTART
    for one in change["keys"]:
        if one["key"] == option.long_key:
            assert one["restart"] is restart, change
    if (option.section, option.key) == ("daemon", "name"):
        # The peers' `as` comes from it.
        assert all(set(keys_of(c)) == {"as"} for c in changes
                   if c is not change), changes
    else:
        assert len(changes) == 1 and not keys, changes
    assert change["effect"]


def try_option(d, option):
    """Changed, looked at, taken over or refused, and changed back."""
    before = d.admin("config")
    now = option.now(before)
    value = changed_value(d, option.section, option.key, option.kind, now)
    if value is None:
        return
    had = option.group.get(option.key)
    option.group[option.key] = value
    try:
        if (option.section, option.key) in RESTART:
            said = said_refused(d)
            assert "%s.%s" % (option.section, option.key) in said
            assert "restart" in said
            assert d.admin("config") == before
            answer = ask_reload(d, dry_run=True)
            data = answer["data"] if answer["ok"] else \
                answer["error"]["details"]
            check_changes(option, data["changes"], now, value)
        else:
            check_changes(option, try_config(d), now, value)
            assert d.admin("config") == before
            check_changes(option, apply(d), now, value)
            settled(d)
    finally:
        if had is None:
            del option.group[option.key]
        else:
            option.group[option.key] = had
    d.write_config()
    if (option.section, option.key) not in RESTART:
        apply(d)
    settled(d)
    assert not differences(before, d.admin("config"))


@pytest.mark.parametrize("section", sorted({o[0] for o in options()}))
def test_each_option(rich, section):
    """What it says before, what is in effect afterwards, and back."""
    listed = [o for o in options() if o[0] == section]
    assert listed
    wrong = []
    for _, key, kind, _ in listed:
        option = Option(rich.edge, section, key, kind)
        try:
            try_option(rich.edge, option)
        except AssertionError as error:
            wrong.append("%s.%s: %s" % (section, key, error))
            rich.edge.write_config()
            ask_reload(rich.edge)
    assert not wrong, "\n\n".join(wrong)
    rich.wait_up()
    round_trip(rich.entry("web"))
    round_trip(rich.entry("db"))


def test_new_secret_in_the_old_file(rich):
    """The file's name is the same, what it holds is not; it is never
    shown."""
    edge = rich.edge
    edge.write_secret("away", harness.new_secret())
    change, = try_config(edge)
    assert keys_of(change) == {"secret": (None, None)}
    assert (change["what"], change["name"]) == ("changed", "away")
    text = tool(edge, "reload", "--dry-run").text + \
        tool(edge, "reload").text + json.dumps(edge.admin("changes"))
    assert "secret" in text and not harness.holds_secret(text)
    settled(edge)


def test_limits_of_the_gateway_at_once(rich, closing):
    edge = rich.edge
    edge.config["daemon"]["max_handshakes_per_source"] = 2
    apply(edge)
    socks = [closing(connect(edge.gateway())) for _ in range(5)]
    wait_until(lambda: edge.status()["gateway"]["handshakes"] == 2, 5,
               "all but two strangers to go")
    del edge.config["daemon"]["max_handshakes_per_source"]
    apply(edge)
    socks += [closing(connect(edge.gateway())) for _ in range(5)]
    wait_until(lambda: edge.status()["gateway"]["handshakes"] == 7, 5,
               "more of them to be let in")


@pytest.mark.parametrize("key", ["admin_group", "admin_read_group"])
def test_groups_at_once(rich, key):
    """Who may ask changes with the file, and back; the socket is the same
    all the time."""
    harness.need_root("to be somebody else")
    edge = rich.edge
    inode = os.stat(edge.admin_path).st_ino
    os.chmod(edge.directory, 0o711)
    group = some_group("root")
    gid = grp.getgrnam(group).gr_gid
    asker = {"user": harness.ORDINARY_USER, "groups": ["--groups", str(gid)]}
    tool(edge, "status", status=3, **asker)
    edge.config["daemon"][key] = group
    apply(edge)
    tool(edge, "status", **asker)
    tool(edge, "reload", status=0 if key == "admin_group" else 1, **asker)
    mode = os.stat(edge.admin_path)
    assert mode.st_mode & 0o777 == (0o660 if key == "admin_group" else 0o666)
    assert (mode.st_gid == gid) == (key == "admin_group")
    del edge.config["daemon"][key]
    apply(edge)
    tool(edge, "status", status=3, **asker)
    mode = os.stat(edge.admin_path)
    assert mode.st_mode & 0o777 == 0o660 and mode.st_gid != gid
    assert mode.st_ino == inode


def test_ledger_limits_at_once(daemon, echo):
    d = daemon("alone", tunnels=[{"name": "own", "listen": "127.0.0.1:0",
                                  "connect": echo.address}]).start()
    for _ in range(20):
        round_trip(d.tunnel("own")["listen"])
    d.closed(20)
    d.config["daemon"]["max_rows"] = 7
    apply(d)
    wait_until(lambda: len(d.history()) == 7, 20, "old sessions to go")
    round_trip(d.tunnel("own")["listen"])


def test_log_level_at_once(rich):
    edge = rich.edge
    edge.config["daemon"]["log_level"] = "debug"
    apply(edge)
    said = new_lines(edge)
    round_trip(rich.entry("web"))
    wait_until(lambda: "home/web" in said(), 5, "a line about the session")
    edge.config["daemon"]["log_level"] = "error"
    apply(edge)
    said = new_lines(edge)
    round_trip(rich.entry("web"))
    edge.closed(2)
    assert said() == ""


def test_metrics_move(rich):
    edge = rich.edge
    old = metrics_at(edge)
    new = edge.config["metrics"]["listen"] = "127.0.0.1:%d" % free_port()
    apply(edge)
    wait_until(lambda: is_refused(old), 5, "the old address to be free")
    connect(new).close()
    del edge.config["metrics"]
    apply(edge)
    wait_until(lambda: is_refused(new), 5, "the new address to be free")


def test_metrics_never_go_back(pair_of, echo):
    """What is counted of a tunnel is one number, whoever counts it."""
    p = pair_of("plain", [reverse("web", echo.address)])
    with_metrics(p.edge)
    p.start()

    def counters():
        return {key: value for key, value in Scrape(p.edge).samples.items()
                if key[0].endswith("_total") and
                ("tunnel", "web") in key[1]}
    with connect(p.entry("web")) as user:
        last = counters()
        assert last
        for count in range(1, 5):
            ask(user, b"x" * 1000)
            tunnel_of(p.edge, "web")["max_held"] = count
            apply(p.edge)
            round_trip(p.entry("web"), b"y" * 100)
            now = counters()
            assert set(now) == set(last)
            back = {k: (last[k], now[k]) for k in last if now[k] < last[k]}
            assert not back
            last = now
        assert max(last.values()) >= 4 * 1100


def test_as_another_user(daemon, echo):
    """Who is no longer root takes over all but what only root can do; and
    says so before anything is changed."""
    harness.need_root("dropping it")
    d = daemon("alone", daemon={"user": harness.ORDINARY_USER}, tunnels=[
        {"name": "own", "listen": "127.0.0.1:0", "connect": echo.address}])
    user = pwd.getpwnam(harness.ORDINARY_USER)
    os.chown(d.directory, user.pw_uid, user.pw_gid)
    d.start()
    assert os.stat("/proc/%d" % d.pid).st_uid == user.pw_uid
    tunnel_of(d, "own")["max_held"] = 3
    apply(d)
    settled(d)
    round_trip(d.tunnel("own")["listen"])
    before = picture(d)
    d.config["daemon"].update(admin_group="daemon", max_rows=3)
    text = said_refused(d)
    assert "daemon.admin_group" in text and "restart" in text
    assert "null" not in text
    assert picture(d) == before
    del d.config["daemon"]["admin_group"]
    apply(d)
    settled(d)


# --- ways to ask ----------------------------------------------------------

def test_hangup_and_tunnelctl_do_the_same(rich):
    """Also in what is logged, recorded and told to followers."""
    edge = rich.edge
    events = Events(edge)
    for how, hold in (("SIGHUP", 4.0), ("ctl", 5.0)):
        tunnel_of(edge, "web")["hold"] = hold
        said = new_lines(edge)
        if how == "SIGHUP":
            hang_up(edge)
        else:
            change, = apply(edge, ctl=True)
            assert keys_of(change) == {"hold": (4.0, 5.0)}
        settled(edge)
        wait_until(lambda: "hold" in said() and "home/web" in said(), 5,
                   "the log to tell what changed")
        rows = wait_until(
            lambda: [r for r in edge.admin("changes")
                     if r["command"] == "reload" and
                     ("SIGHUP" in r["by"]) == (how == "SIGHUP")], 5,
            "the history of changes to tell who it was")
        if how == "SIGHUP":
            assert (rows[0]["uid"], rows[0]["by"]) == (0, "SIGHUP")
        else:
            assert rows[0]["uid"] == os.geteuid()
            assert rows[0]["by"].startswith("%s (uid " % me())
        event = events.wait("reload")
        assert event["text"]
        events.seen.clear()
    events.close()


def test_hangup_with_an_error(rich):
    """Every error stands in the log; nothing has changed."""
    edge = rich.edge
    before = picture(edge)
    tunnel_of(edge, "web")["colour"] = "red"
    tunnel_of(edge, "own")["max_held"] = 0
    edge.write_config()
    said = new_lines(edge)
    edge.signal(signal.SIGHUP)
    wait_until(lambda: "colour" in said() and "max_held" in said(), 10,
               "both errors in the log")
    assert picture(edge) == before


def test_tells_systemd(rich, closing, daemon):
    """RELOADING=1 with the time, then READY=1, be it good or bad."""
    d = daemon("told", tunnels=[])
    notify = closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
    notify.bind(d.path("notify"))
    notify.settimeout(20 * harness.FACTOR)
    d.env["NOTIFY_SOCKET"] = d.path("notify")
    d.start()

    def words(wanted):
        while True:
            said = dict(line.split("=", 1) for line in
                        notify.recv(4096).decode().splitlines())
            if wanted in said:
                return said
    words("READY")
    for good in (True, False):
        d.config["daemon"]["max_rows"] = 5 if good else -5
        d.write_config()
        began = time.monotonic()
        d.signal(signal.SIGHUP)
        said = words("RELOADING")
        assert said["RELOADING"] == "1"
        at = int(said["MONOTONIC_USEC"]) / 1e6
        assert began - 0.01 <= at <= time.monotonic()
        said = words("READY")
        assert said["READY"] == "1" and "RELOADING" not in said


def test_same_file_again(rich):
    """Nothing to change is no error, and changes nothing."""
    edge = rich.edge
    before = picture(edge)
    assert apply(edge, ctl=True) == []
    assert tool(edge, "reload").text.strip()
    assert picture(edge) == before


def test_bad_requests(rich):
    for args in ({"dry_run": "yes"}, {"dry": True}):
        with pytest.raises(AdminError) as error:
            rich.edge.admin("reload", **args)
        assert error.value.code == "bad_request", args
    for words in (["now"], ["--wet-run"]):
        tool(rich.edge, "reload", *words, status=2)


# --- what it would do -----------------------------------------------------

def test_dry_run_tells_all(rich, closing):
    """Added, removed and changed, old and new value, sessions of each; and
    it changes nothing."""
    edge = rich.edge
    users = [closing(connect(rich.entry(name))) for name in ("web", "web")]
    users.append(closing(connect(edge.tunnel("own")["listen"])))
    for user in users:
        ask(user)
    edge.wait_sessions(3)
    before = picture(edge)
    tunnel_of(edge, "web")["hold"] = 1.5
    edge.config["tunnels"] = [t for t in edge.config["tunnels"]
                              if t["name"] != "own"]
    edge.config["tunnels"].append({
        "name": "new", "listen": "127.0.0.1:%d" % free_port(),
        "connect": "127.0.0.1:9"})
    edge.config["peers"] = [p for p in edge.config["peers"]
                            if p["name"] != "away"]
    edge.config["daemon"]["retention_days"] = 12
    peer_of(edge, "home")["heartbeat"] = {"interval": 3.0}
    changes = try_config(edge)
    assert len(changes) == 6, changes
    web = row_of(changes, "changed", "tunnel", "home/web")
    assert keys_of(web) == {"hold": (10.0, 1.5)} and web["sessions"] == 2
    own = row_of(changes, "removed", "tunnel", "own")
    assert own["sessions"] == 1 and "1" in own["effect"]
    assert row_of(changes, "added", "tunnel", "new")["sessions"] == 0
    row_of(changes, "removed", "peer", "away")
    home = row_of(changes, "changed", "peer", "home")
    assert keys_of(home) == {"heartbeat.interval": (10.0, 3.0)}
    days = row_of(changes, "changed", "daemon")
    assert keys_of(days) == {"retention_days": (90, 12)}
    for change in changes:
        assert change["effect"] and \
            all(k["restart"] is False for k in change["keys"])
    text = tool(edge, "reload", "--dry-run").out
    for part in ("added", "removed", "changed", "home/web", "own", "new",
                 "away", "hold", "1.5", "retention_days", "90", "12",
                 "heartbeat.interval"):
        assert part in text, text
    assert edge.ctl("reload", "--dry-run")["changes"] == changes
    assert picture(edge) == before
    assert not [r for r in edge.admin("changes")]
    assert apply(edge) == changes
    for user in users:
        ask(user, b"still here")


def test_dry_run_binds_nothing(rich, closing):
    """And tells of a port that is taken, if it can tell at all."""
    edge = rich.edge
    port = free_port()
    tunnel_of(edge, "own")["listen"] = "127.0.0.1:%d" % port
    try_config(edge)
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port))
