# SPDX-License-Identifier: ISC
"""A reload that cannot be: nothing changes, every error comes back; and
`tunneld -t` says the same of a file as a reload."""

import copy
import os
import signal
import socket

import pytest

import harness
from harness import TUNNELD, run, wait_until
from reloads import (apply, ask_reload, error_lines, new_lines, peer_of,
                     picture, refused, rich, said_refused, settled,
                     tunnel_of)
from services import ask, connect, round_trip
from tool import tool

# --- something is wrong ---------------------------------------------------

def taken(d, closing):
    sock = closing(socket.socket())
    sock.bind(("127.0.0.1", 0))
    sock.listen()
    return "127.0.0.1:%d" % sock.getsockname()[1]


def bad_key(d, closing):
    tunnel_of(d, "web")["colour"] = "red"
    return ["colour"]


def bad_values(d, closing):
    tunnel_of(d, "web")["hold"] = -1.0
    tunnel_of(d, "own")["listen"] = "nowhere"
    d.config["daemon"]["log_level"] = "loud"
    return ["hold", "nowhere", "loud"]


def bad_secret(d, closing):
    os.unlink(peer_of(d, "away")["secret_file"])
    return ["secret-away"]


def bad_many(d, closing):
    d.config["peers"].append({"name": "home", "connect": "127.0.0.1:1",
                              "secret_file": "/nonexistent/secret"})
    tunnel_of(d, "own")["peer"] = "nobody"
    return ["/nonexistent/secret", "already", "nobody"] + \
        bad_secret(d, closing)


def bad_port(d, closing):
    address = taken(d, closing)
    tunnel_of(d, "web")["listen"] = address
    return [address]


def bad_ports(d, closing):
    """Of tunnel, gateway and metrics; beside good ones."""
    first, second, third, fourth = [taken(d, closing) for _ in range(4)]
    tunnel_of(d, "own")["listen"] = first
    d.config["tunnels"].append(dict(tunnel_of(d, "web"), name="second",
                                    listen=second))
    d.config["tunnels"].insert(0, dict(tunnel_of(d, "web"), name="good",
                                       listen="127.0.0.1:0"))
    d.config["gateway"]["listen"].append(third)
    d.config["metrics"]["listen"] = fourth
    d.config["peers"].append(dict(peer_of(d, "away"), name="good"))
    return [first, second, third, fourth]


def bad_unix(d, closing):
    path = d.path("file")
    with open(path, "w") as file:
        file.write("precious")
    tunnel_of(d, "own")["listen"] = "unix:" + path
    return [path]


def bad_restart(d, closing):
    """Beside what could be taken over."""
    d.config["daemon"].update(name="else", database=d.path("other.db"),
                              retention_days=1)
    tunnel_of(d, "web")["hold"] = 3.0
    return ["daemon.name", "daemon.database", "restart"]


def bad_on_change(d, closing):
    words = ["sometimes", "drain", "drain:", "drain:-1", "drain:x", "keep ",
             "drain:5s", "KILL", "drain:nan", "drain:1e99"]
    for n, word in enumerate(words):
        d.config["tunnels"].append({
            "name": "w%d" % n, "listen": "127.0.0.1:0", "on_change": word,
            "connect": "127.0.0.1:9"})
    return [word.strip() for word in words] + \
        ["w%d" % n for n in range(len(words))]


BAD = [bad_on_change, bad_key, bad_values, bad_secret, bad_many, bad_port,
       bad_ports, bad_unix, bad_restart]


@pytest.mark.parametrize("bad", BAD)
def test_all_or_nothing(rich, closing, bad):
    """Nothing changes, all errors come back; and once it is right again, all
    of it is taken over."""
    edge = rich.edge
    users = [closing(connect(address)) for address in
             (rich.entry("web"), rich.entry("db"),
              edge.tunnel("own")["listen"])]
    for user in users:
        ask(user)
    edge.wait_sessions(3)
    before = picture(edge)
    fds = edge.fds()
    good = copy.deepcopy(edge.config)
    words = bad(edge, closing)

    def same():
        assert picture(edge) == before
        for user in users:
            ask(user, b"all is well")

    errors = refused(edge)
    text = "\n".join(e["message"] for e in errors)
    for word in words:
        assert word in text, (word, errors)
    same()
    said = said_refused(edge)
    for error in errors:
        assert error["message"] in said, said
    same()
    lines = new_lines(edge)
    edge.signal(signal.SIGHUP)
    wait_until(lambda: all(word in lines() for word in words), 10,
               "all of it in the log")
    same()
    wait_until(lambda: edge.fds() <= fds + 1, 10, "descriptors to be closed")
    edge.config.clear()
    edge.config.update(good, daemon=dict(good["daemon"], max_rows=7))
    edge.write_secret("away", harness.new_secret())
    apply(edge)
    settled(edge)
    for name in ("web", "db"):
        round_trip(rich.entry(name))


@pytest.mark.parametrize("what", ["missing", "syntax", "directory"])
def test_file_that_cannot_be_read(rich, what):
    edge = rich.edge
    before = picture(edge)
    good = edge.config_path + ".good"
    os.rename(edge.config_path, good)
    if what == "directory":
        os.mkdir(edge.config_path)
    elif what == "syntax":
        with open(edge.config_path, "w") as file:
            file.write("daemon = { name = ; };\n")
    answer = ask_reload(edge)
    assert not answer["ok"] and answer["error"]["code"] == "refused"
    error, = answer["error"]["details"]["errors"]
    assert edge.config_path in error["file"] + error["message"]
    if what == "syntax":
        assert error["line"] == 1
    assert tool(edge, "reload", status=1).err
    assert picture(edge) == before


# --- `tunneld -t` ---------------------------------------------------------

def good_files(d):
    """Changes of d.config that are good."""
    yield lambda: None
    yield lambda: tunnel_of(d, "web").update(hold=2, allow=["127.0.0.0/8"])
    yield lambda: d.config["tunnels"].clear()
    yield lambda: d.config["daemon"].update(max_rows=10, log_level="debug")
    yield lambda: peer_of(d, "away").update(security="plain", pool=5)


@pytest.mark.parametrize("number", range(5))
def test_t_passes_what_reload_takes(rich, number):
    d = rich.edge
    list(good_files(d))[number]()
    d.write_config()
    assert run(TUNNELD, "-t", "-c", d.config_path).returncode == 0
    apply(d)
    settled(d)


@pytest.mark.parametrize("bad", [bad_key, bad_values, bad_secret, bad_many,
                                 bad_on_change])
def test_t_says_what_reload_says(rich, closing, bad):
    """The same errors, in the same words, at the same lines."""
    d = rich.edge
    bad(d, closing)
    errors = refused(d)
    checked = run(TUNNELD, "-t", "-c", d.config_path, check=False)
    assert checked.returncode == 1
    lines = error_lines(checked.stdout + checked.stderr)
    assert len(lines) == len(errors), (lines, errors)
    for error in errors:
        place = "%s:%d: " % (error["file"], error["line"]) \
            if error["line"] else ""
        assert any(line.endswith(place + error["message"])
                   for line in lines), (error, lines)
