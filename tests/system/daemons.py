# SPDX-License-Identifier: ISC
"""Daemons of the tests, each with a directory of its own."""

import contextlib
import json
import os
import pwd
import re
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time

from adminsocket import Admin, AdminError
from harness import (FACTOR, IS_ROOT, MASTER, TROUBLE, TUNNELCTL, TUNNELD,
                     end_process, holds_secret, knows_master, render, run,
                     spawn, wait_until)
from processes import children, descriptors, identify, is_running, rss_kib


class Daemon:
    """One tunneld with a directory of its own. `config` is a dict that
    start() writes out, unless `text` is given.

    Most run without a master: the process that was started is the one that
    serves. With `master` it is the master, and what serves is `pid`. With
    `own_binary` what is run is a copy, for replace_binary()."""

    def __init__(self, name, *, gateway=None, peers=(), tunnels=(),
                 daemon=None, user=None, netns=None, nofile=None, text=None,
                 directory=None, env=None, master=None, own_binary=False):
        self.name = name
        self.master = MASTER if master is None else master
        self.own_binary = own_binary
        self.user = user if IS_ROOT else None
        self.netns = netns
        self.nofile = nofile
        self.env = env or {}
        self.text = text
        self.process = None
        self.wrapper = []       # what starts it, in the same process
        self.pass_fds = ()
        self.stopped_by_test = False
        self.expect_status = 0
        self.own_directory = directory is None
        self.directory = directory or tempfile.mkdtemp(prefix="td-",
                                                       dir="/tmp")
        self.admin_path = self.path("admin.sock")
        self.config_path = self.path("tunnels.conf")
        self.database = self.path("sessions.db")
        self.log_path = self.path("log")
        self.config = {
            "daemon": dict({
                "name": name, "admin_socket": self.admin_path,
                "database": self.database, "log": "stderr",
                "log_level": "info"}, **(daemon or {})),
        }
        self.admin_path = self.config["daemon"]["admin_socket"]
        self.database = self.config["daemon"]["database"]
        if gateway is not None:
            self.config["gateway"] = {"listen": list(gateway)}
        self.config["peers"] = [dict(peer) for peer in peers]
        self.config["tunnels"] = [dict(tunnel) for tunnel in tunnels]
        for peer in self.config["peers"]:
            if "secret" in peer:
                peer["secret_file"] = self.write_secret(
                    peer["name"], peer.pop("secret"))
        self.binary = TUNNELD
        self.give_away(self.directory)

    def path(self, *words):
        return os.path.join(self.directory, *words)

    def give_away(self, path):
        if self.user:
            entry = pwd.getpwnam(self.user)
            os.chown(path, entry.pw_uid, entry.pw_gid)

    def write_secret(self, peer, text):
        path = self.path("secret-" + peer)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(fd, "w") as file:
            file.write(text + "\n")
        self.give_away(path)
        return path

    def write_config(self):
        text = self.text
        if text is None:
            text = "".join("%s = %s;\n" % (k, render(v))
                           for k, v in self.config.items()
                           if v or k == "daemon")
        with open(self.config_path, "w", errors="surrogateescape") as file:
            file.write(text)
        os.chmod(self.config_path, 0o644)

    # life

    def launch(self, *options):
        """Starts the process and waits for nothing."""
        assert self.process is None or self.process.poll() is not None
        self.write_config()
        if (self.user or self.own_binary) and self.binary == TUNNELD:
            # The build may lie where an ordinary user cannot reach it.
            self.binary = shutil.copy(TUNNELD, self.path("tunneld"))
            os.chmod(self.binary, 0o755)
        words = list(options or ["-f", "-c", self.config_path])
        if not self.master and knows_master():
            words.append("--no-master")
        log = os.open(self.log_path,
                      os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            self.process = spawn(
                self.wrapper + [self.binary] + words,
                netns=self.netns, user=self.user, nofile=self.nofile,
                stdout=log, stderr=log, cwd=self.directory,
                pass_fds=self.pass_fds,
                env={k: v for k, v in dict(os.environ, **self.env).items()
                     if v is not None})
        finally:
            os.close(log)
        self.stopped_by_test = False
        return self

    def start(self, *options):
        self.launch(*options)
        wait_until(self.is_ready, 15, "%s to answer on its admin socket" %
                   self.name)
        return self

    def is_ready(self):
        status = self.process.poll()
        assert status is None, "%s ended with status %s:\n%s" % (
            self.name, status, self.log())
        try:
            version = self.version()
        except (OSError, ConnectionError):
            return False
        return version["master" if self.master else "pid"] == self.process.pid

    def version(self):
        return self.admin("version")

    def signal(self, number):
        """To the process that was started; but to stop and to go on is for
        those that serve."""
        if number in (signal.SIGSTOP, signal.SIGCONT):
            for one in self.processes():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(one.pid, number)
        else:
            self.process.send_signal(number)

    def kill(self):
        """SIGKILL: no farewell."""
        self.stopped_by_test = True
        there = self.processes()
        end_process(self.process)
        self.wait_gone(there)

    def wait_gone(self, processes, deadline=5):
        wait_until(lambda: not any(map(is_running, processes)), deadline,
                   "the workers of %s to end" % self.name)

    def stop(self):
        """SIGTERM; the promises of an orderly end are checked. The ledger may
        wait for a second, and the machine be busy."""
        within = 5.0 * FACTOR
        there = self.processes()
        began = time.monotonic()
        self.signal(signal.SIGTERM)
        try:
            status = self.process.wait(within + 20)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError("%s ignores SIGTERM" % self.name)
        took = time.monotonic() - began
        self.stopped_by_test = True
        assert status == self.expect_status, \
            "%s ended with status %d" % (self.name, status)
        assert took < within, \
            "%s took %.2f s to end" % (self.name, took)
        self.wait_gone(there)

    def freeze_ports(self):
        """Puts the ports that were bound into the config, so that the next
        life has the same."""
        status = self.status()
        if "gateway" in self.config:
            self.config["gateway"]["listen"] = status["gateway"]["listen"]
        bound = {(t["peer"], t["name"]): t["listen"]
                 for t in status["tunnels"] if t["listen"]}
        for tunnel in self.config["tunnels"]:
            if "listen" in tunnel:
                tunnel["listen"] = bound[tunnel.get("peer"), tunnel["name"]]

    def finish(self):
        """The end of a test: everything that must hold of every daemon."""
        try:
            if self.process and self.process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    self.signal(signal.SIGCONT)
                self.stop()
            elif self.process and not self.stopped_by_test:
                assert self.process.returncode == self.expect_status, \
                    "%s ended by itself with status %d" % (
                        self.name, self.process.returncode)
            log = self.log()
            for trouble in TROUBLE:
                assert trouble not in log, \
                    "%s: %s in its log" % (self.name, trouble)
            assert not holds_secret(log), "%s logs a secret" % self.name
        finally:
            if self.process:
                end_process(self.process)

    def remove(self):
        if self.own_directory:
            shutil.rmtree(self.directory, ignore_errors=True)

    # master and worker

    def processes(self):
        """Those that serve: the workers, oldest first, or the only one."""
        if self.master:
            return children(self.process.pid)
        return [identify(self.process.pid)]

    @property
    def pid(self):
        """Of the process that serves; the newest, should there be several.
        As the kernel knows it: nobody is asked."""
        if not self.master:
            return self.process.pid
        return wait_until(self.processes, 40, "a worker")[-1].pid

    @property
    def worker(self):
        """The same by its own word."""
        return self.version()["pid"]

    def upgrade(self):
        """tunnelctl upgrade; the pids (now, before)."""
        before = self.worker
        said = self.ctl("upgrade", as_json=False)
        found = re.search(r"upgraded to tunneld (\S+), pid (\d+)", said)
        assert found, said
        now = self.version()
        assert (now["version"], now["pid"]) == (found[1], int(found[2]))
        assert now["pid"] != before and now["master"] == self.process.pid
        return now["pid"], before

    def replace_binary(self, script=None, mode=0o755, change=None):
        """Another file in the place of the binary: tunneld again (its bytes
        changed by a function), or a shell script."""
        assert self.own_binary and self.binary != TUNNELD
        if script is None:
            with open(TUNNELD, "rb") as file:
                data = file.read()
            data = change(data) if change else data
        else:
            data = b"#!/bin/sh\n" + script.encode() + b"\n"
        with open(self.binary + ".new", "wb") as file:
            file.write(data)
        os.chmod(self.binary + ".new", mode)
        os.rename(self.binary + ".new", self.binary)

    # what it says

    def log(self):
        with contextlib.suppress(FileNotFoundError):
            with open(self.log_path, errors="replace") as file:
                return file.read()
        return ""

    def admin(self, cmd, **args):
        while True:
            client = Admin(self.admin_path)
            try:
                return client(cmd, **args)
            except AdminError as error:
                if error.code != "upgraded":    # ask its successor
                    raise
            finally:
                client.close()

    def ctl(self, *words, status=0, as_json=True):
        """tunnelctl; its parsed JSON, or its text."""
        options = ["-s", self.admin_path] + (["--json"] if as_json else [])
        done = run(TUNNELCTL, *options, *map(str, words), check=False)
        assert done.returncode == status, "tunnelctl %s: status %d\n%s%s" % (
            words, done.returncode, done.stdout, done.stderr)
        for trouble in TROUBLE:
            assert trouble not in done.stderr
        if as_json and status == 0:
            return json.loads(done.stdout)
        return done.stdout + done.stderr

    def status(self):
        return self.admin("status")

    def ledger(self):
        return self.status()["ledger"]

    def peer(self, name=None):
        peers = self.admin("peers")
        return next(p for p in peers if name in (None, p["name"]))

    def ready(self, name=None):
        """How many connections of a link wait for sessions: of its reserve,
        or lanes."""
        peer = self.peer(name)
        return peer["channels_idle"] + sum(
            lane["state"] == "up" for lane in peer["lanes"])

    def tunnel(self, name):
        return next(t for t in self.admin("tunnels") if t["name"] == name)

    def sessions(self, **args):
        return self.admin("sessions", **args)

    def history(self, **args):
        return self.admin("history", **dict({"limit": 10000}, **args))

    def closed(self, count=1, deadline=15, **args):
        """History once it has at least count rows, newest first."""
        def enough():
            rows = self.history(**args)
            return rows if len(rows) >= count else None
        return wait_until(enough, deadline, "%d rows in the history of %s" %
                          (count, self.name), interval=0.05)

    def closed_one(self, uid, deadline=15):
        return wait_until(
            lambda: next((r for r in self.history() if r["uid"] == uid),
                         None),
            deadline, "session %s in the history of %s" % (uid, self.name),
            interval=0.05)

    def gateway(self, index=0):
        return self.status()["gateway"]["listen"][index]

    def is_up(self, peer=None):
        return self.peer(peer)["state"] == "up"

    def wait_up(self, peer=None, deadline=10):
        wait_until(lambda: self.is_up(peer), deadline,
                   "the link of %s to be up" % self.name)

    def wait_not_up(self, peer=None, deadline=10):
        wait_until(lambda: not self.is_up(peer), deadline,
                   "the link of %s to be down" % self.name)

    def wait_sessions(self, count, deadline=10, **args):
        def there():
            rows = self.sessions(**args)
            return (rows,) if len(rows) == count else None
        return wait_until(there, deadline, "%d sessions at %s" %
                          (count, self.name))[0]

    # what the kernel says

    def fds(self):
        return len(descriptors(self.pid))

    def rss_kib(self):
        return rss_kib(self.pid)

    def query(self, sql, *args):
        """Reads its database behind its back."""
        with contextlib.closing(sqlite3.connect(
                "file:%s?mode=ro" % self.database, uri=True,
                timeout=10)) as db:
            db.row_factory = sqlite3.Row
            return [dict(row) for row in db.execute(sql, args)]


class Pair:
    """An edge with a gateway and a home that dials it."""

    def __init__(self, security, secret, edge, home):
        self.security = security
        self.secret = secret
        self.edge = edge
        self.home = home

    def start(self):
        self.edge.start()
        self.point_home(self.edge.gateway())
        self.home.start()
        self.wait_up()
        return self

    def point_home(self, address):
        for peer in self.home.config["peers"]:
            if peer["name"] == "edge":
                peer["connect"] = address

    def wait_up(self, deadline=10):
        self.edge.wait_up("home", deadline)
        self.home.wait_up("edge", deadline)

    def both(self):
        return self.edge, self.home

    def end(self, tunnel, end):
        """The daemon that has this end of a tunnel."""
        for daemon in self.both():
            for row in daemon.config["tunnels"]:
                key = "listen" if end == "entry" else "connect"
                if row["name"] == tunnel and key in row:
                    return daemon
        raise KeyError(tunnel)

    def entry(self, tunnel):
        """The address where the users of a tunnel arrive."""
        return self.end(tunnel, "entry").tunnel(tunnel)["listen"]

    def uids_match(self, uid):
        """The rows of both ledgers about one session."""
        return [daemon.closed_one(uid) for daemon in self.both()]

    def the_uid(self):
        """The uid of the only session."""
        return self.edge.wait_sessions(1)[0]["uid"]

    def check_rows(self, uid, **wanted):
        """Both ledgers say what is wanted of one session."""
        for row in self.uids_match(uid):
            for key, value in wanted.items():
                assert row[key] == value, (key, row)
