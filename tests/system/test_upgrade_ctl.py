# SPDX-License-Identifier: ISC
"""tunnelctl and a daemon that is being upgraded, or was: a puppet plays the
daemon, so that each moment can be met. And one that has no master."""

import json
import time

import pytest

from harness import FACTOR, wait_until
from screen import FAST, Puppet, screen  # noqa: F401
from tool import Running, tool

UPGRADED = {"ok": False, "error": {
    "code": "upgraded", "message": "tunneld is being upgraded: ask again"}}
OLD = 4711
DONE = {"pid": 12, "version": "2.0", "old_pid": OLD, "sessions": 5}


class Actor(Puppet):
    """Answers each command with the lines of script[command]; the first
    `busy` questions with "upgraded", and hangs up."""

    def __init__(self, path):
        self.script = {}
        self.busy = 0
        self.admin_path = path
        super().__init__(path)

    def attend(self, client):
        with client, client.makefile() as lines:
            for line in lines:
                request = json.loads(line)
                self.asked.append(request)
                if self.busy > 0:
                    self.busy -= 1
                    answers = [UPGRADED]
                else:
                    answers = self.answers(request["cmd"])
                for answer in answers:
                    text = json.dumps(dict(answer, id=request["id"]))
                    client.sendall(text.encode() + b"\n")
                if answers[-1] == UPGRADED:
                    return

    def answers(self, command):
        if command in self.script:
            return self.script[command]
        return super().answers(command)

    def commands(self):
        return [request["cmd"] for request in self.asked]


def ok(data, more=False):
    return dict({"ok": True, "data": data}, **({"more": True} if more else {}))


def refusal(code, message):
    return {"ok": False, "error": {"code": code, "message": message}}


@pytest.fixture
def actor(tmp_path, closing):
    return closing(Actor(str(tmp_path / "admin.sock")))


# --- it is asked again ----------------------------------------------------

def test_asked_again(actor):
    actor.script["peers"] = [ok([])]
    actor.busy = 3
    said = tool(actor, "peers")
    assert said.out == "no peers\n" and said.err == ""
    assert actor.commands() == ["peers"] * 4
    actor.script["kill"] = [ok({"killed": [7], "not_found": []})]
    actor.busy = 1
    assert tool(actor, "kill", 7).out == "killed 1 session: 7\n"
    assert tool(actor, "kill", 7, "--json").json == {"killed": [7],
                                                     "not_found": []}


def test_not_for_ever(actor):
    actor.busy = 10 ** 6
    begin = time.monotonic()
    said = tool(actor, "status", status=1)
    assert said.err == \
        "tunnelctl: status: tunneld is being upgraded: ask again\n"
    assert 2 < time.monotonic() - begin < 20 * FACTOR


def event(text):
    return {"at": "2026-11-21T09:00:00.000Z", "kind": "change", "peer": None,
            "tunnel": None, "address": None, "session": None, "text": text}


def test_events_go_on(actor, closing):
    actor.script["events"] = [ok([], True), ok([event("a")], True), UPGRADED]
    running = closing(Running(actor, "events", "--json"))
    wait_until(lambda: len(running.rows()) >= 2)
    actor.script["events"] = [ok([], True), ok([event("b")], True)]
    wait_until(lambda: running.rows()[-1]["text"] == "b")
    texts = [row["text"] for row in running.rows()]
    assert texts == ["a"] * (len(texts) - 1) + ["b"]
    assert running.interrupt() == 0
    assert running.process.stderr.read() == b""


def test_watch_goes_on(actor, screen):  # noqa: F811
    s = screen().watch(actor.path, *FAST)
    s.wait("puppet")
    actor.status["daemon"]["name"] = "another"
    actor.busy = 2
    s.wait("another", 3)
    s.wait_gone("upgraded")


# --- what runs on elsewhere -----------------------------------------------

def worker(**more):
    return dict({"pid": OLD, "state": "draining", "version": "0.9",
                 "started_at": "2026-11-21T08:00:00.000Z",
                 "draining_since": "2026-11-21T09:00:00.000Z",
                 "until": None, "sessions": 3, "error": None}, **more)


def test_status(actor):
    actor.script["status"] = [ok(actor.status)]
    assert "draining" not in tool(actor, "status").out
    actor.status["workers"] = [
        worker(state="current", pid=1), worker(),
        worker(pid=4712, sessions=1, until="2026-11-21T10:00:00.000Z",
               error="worker 4712 does not answer")]
    lines = [line for line in tool(actor, "status", "--utc").out.split("\n")
             if line.startswith("draining")]
    assert lines == [
        "draining: pid 4711, tunneld 0.9, 3 sessions, since "
        "2026-11-21T09:00:00.000Z",
        "draining: pid 4712, tunneld 0.9, 1 session, since "
        "2026-11-21T09:00:00.000Z, until 2026-11-21T10:00:00.000Z; "
        "worker 4712 does not answer"]
    assert "tunnelctl upgrade" not in tool(actor, "status").out
    actor.status["daemon"]["replaced"] = True
    assert "tunnelctl upgrade" in tool(actor, "status").out


def session(**more):
    return dict({"id": 10, "tunnel": "web", "peer": None, "state": "open",
                 "source": "192.0.2.7:1000", "worker": None}, **more)


def test_worker_column(actor):
    actor.script["sessions"] = [ok([session()])]
    assert "WORKER" not in tool(actor, "sessions").out
    assert "WORKER" in tool(actor, "sessions", "--columns", "id,worker").out
    assert tool(actor, "sessions", "--csv").out.split("\r\n")[0] \
        .endswith(",worker")
    actor.script["sessions"] = [ok([session(), session(id=11, worker=OLD)])]
    lines = tool(actor, "sessions").out.split("\n")
    assert lines[0].split()[-1] == "WORKER"
    assert [line.split()[-1] for line in lines[1:3]] == ["-", str(OLD)]
    actor.script["session"] = [ok(session())]
    assert "worker" not in tool(actor, "session", 10).out
    actor.script["session"] = [ok(session(worker=OLD))]
    assert tool(actor, "session", 10).out.split()[-2:] == ["worker", str(OLD)]
    row = {"name": "web", "peer": None, "state": "draining", "sessions": 1,
           "sessions_total": 1, "worker": OLD}
    actor.script["tunnels"] = [ok([row])]
    out = tool(actor, "tunnels").out
    assert "WORKER" in out
    assert "in worker 4711, which an upgrade replaced" in out


def test_a_list_that_is_not_whole(actor):
    actor.script["sessions"] = [
        ok([session()], True),
        refusal("timeout", "worker 4711 does not answer")]
    said = tool(actor, "sessions", "--json", status=1)
    assert [row["id"] for row in said.json] == [10]
    assert said.err == "tunnelctl: sessions: worker 4711 does not answer\n"


def test_kill_unreachable(actor):
    actor.script["kill"] = [ok({"killed": [7], "not_found": [],
                                "unreachable": [OLD]})]
    said = tool(actor, "kill", "-t", "web", status=1)
    assert said.out == "killed 1 session: 7\n"
    assert said.err == ("tunnelctl: kill: worker 4711 did not answer: its "
                        "sessions may be open still\n")
    assert tool(actor, "kill", 7, "--json", status=1).json == \
        {"killed": [7], "not_found": [], "unreachable": [OLD]}
    actor.script["disable"] = [ok({
        "kind": "tunnel", "name": "web", "disabled": True, "changed": True,
        "killed": [], "unreachable": [OLD]})]
    said = tool(actor, "disable", "-k", "web", status=1)
    assert said.out == "tunnel web is disabled\n"
    assert "worker 4711 did not answer" in said.err


# --- upgrade --------------------------------------------------------------

def test_upgrade(actor):
    actor.script["upgrade"] = [ok(DONE)]
    assert tool(actor, "upgrade").out == \
        "upgraded to tunneld 2.0, pid 12; 5 sessions run on in pid 4711\n"
    assert tool(actor, "upgrade", "--json").json == DONE
    actor.script["upgrade"] = [ok(dict(DONE, sessions=1))]
    assert tool(actor, "upgrade").out == \
        "upgraded to tunneld 2.0, pid 12; 1 session runs on in pid 4711\n"
    actor.script["upgrade"] = [refusal("refused", "it died")]
    assert tool(actor, "upgrade", status=1).err == \
        "tunnelctl: upgrade: it died\n"
    tool(actor, "upgrade", "now", status=2)


def test_upgrade_if_new(actor):
    actor.script["version"] = [ok({"version": "1", "replaced": True})]
    actor.script["upgrade"] = [ok(DONE)]
    actor.script["reload"] = [ok({"changes": [], "errors": [],
                                  "dry_run": False, "applied": True})]
    assert "upgraded" in tool(actor, "upgrade", "--if-new").out
    actor.script["version"] = [ok({"version": "1", "replaced": False})]
    said = tool(actor, "upgrade", "--if-new")
    assert said.out == tool(actor, "reload").out == "nothing to change\n"
    assert actor.commands() == ["version", "upgrade", "version", "reload",
                                "reload"]
    actor.script["reload"] = [refusal("refused", "no")]
    said = tool(actor, "upgrade", "--if-new", status=1)
    assert said.err == tool(actor, "reload", status=1).err


def test_without_a_daemon(tmp_path, actor):
    actor.close()
    for words in (["upgrade"], ["upgrade", "--if-new"]):
        assert "cannot reach" in tool(actor, *words, status=3).err
