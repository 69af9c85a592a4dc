# SPDX-License-Identifier: ISC
"""What the system tests stand on: daemons of their own with directories of
their own, the admin socket, throwaway network namespaces and file systems.

TUNNELD_BUILD   directory with the tunneld and tunnelctl to test
                (default: the root of the source tree)
TUNNELD_SLOW    set when the binaries are instrumented: every deadline grows
"""

import base64
import contextlib
import ctypes
import json
import os
import pwd
import random
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import tempfile
import threading
import time

import pytest

ROOT = os.path.realpath(os.path.join(os.path.dirname(__file__), "../.."))
BUILD = os.path.realpath(os.environ.get("TUNNELD_BUILD") or ROOT)
TUNNELD = os.path.join(BUILD, "tunneld")
TUNNELCTL = os.path.join(BUILD, "tunnelctl")
SLOW = bool(os.environ.get("TUNNELD_SLOW"))
FACTOR = 6.0 if SLOW else 1.0
IS_ROOT = os.geteuid() == 0
ORDINARY_USER = "nobody"
SECURITIES = ("plain", "tls")

os.environ["PATH"] += ":/usr/sbin:/sbin"

TROUBLE = ("ERROR: AddressSanitizer", "runtime error:", "LeakSanitizer",
           "ERROR: ThreadSanitizer", "WARNING: ThreadSanitizer")


def wait_until(predicate, deadline=10.0, what="", interval=0.02):
    """Returns the first true value of predicate(), or fails by name."""
    end = time.monotonic() + deadline * FACTOR
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError("waited %.1f s in vain for: %s" %
                                 (deadline * FACTOR, what or predicate))
        time.sleep(interval)


# --- processes ------------------------------------------------------------

def spawn(argv, *, netns=None, user=None, nofile=None, **kw):
    """Starts a program that cannot outlive this one. It execs through small
    wrappers, so that the pid is the program's own."""
    wrap = []
    if netns:
        wrap += ["nsenter", "--net=/proc/%d/ns/net" % netns.pid, "--"]
    if nofile:
        wrap += ["prlimit", "--nofile=%d:%d" % (nofile, nofile), "--"]
    wrap += ["setpriv", "--pdeathsig", "KILL"]
    if user and IS_ROOT:
        entry = pwd.getpwnam(user)
        wrap += ["--reuid", str(entry.pw_uid), "--regid", str(entry.pw_gid)]
        wrap += kw.pop("groups", None) or ["--clear-groups"]
    wrap += ["--"]
    kw.setdefault("stdin", subprocess.DEVNULL)
    return subprocess.Popen(wrap + list(argv), **kw)


def run(*argv, check=True, timeout=60, **kw):
    """Runs a program to its end; its output as text."""
    kw.setdefault("stdin", subprocess.DEVNULL)
    done = subprocess.run(argv, stdout=subprocess.PIPE, text=True,
                          stderr=subprocess.PIPE, timeout=timeout * FACTOR,
                          **kw)
    assert not check or done.returncode == 0, \
        "%s: status %d\n%s%s" % (argv, done.returncode, done.stdout,
                                 done.stderr)
    return done


def need(*programs):
    """A skip, and a loud one, only where a program is truly missing."""
    for program in programs:
        if not shutil.which(program):
            pytest.skip("%s IS NOT INSTALLED" % program.upper())


def need_root(why):
    if not IS_ROOT:
        pytest.skip("NEEDS ROOT: " + why)


def end_process(process):
    if process.poll() is None:
        process.kill()
    process.wait()


_next_port = None


def free_port(host="127.0.0.1"):
    """A port below the ephemeral range, so that no outgoing connection can
    take it between two lives of a daemon; each xdist worker has its own
    stretch."""
    global _next_port
    worker = re.sub(r"\D", "", os.environ.get("PYTEST_XDIST_WORKER", "")) or 9
    first = 20000 + int(worker) % 10 * 1200
    if _next_port is None:
        _next_port = random.randrange(1200)
    for _ in range(1200):
        _next_port = (_next_port + 1) % 1200
        port = first + _next_port
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind((host, port))
            except OSError:
                continue
            return port
    raise AssertionError("no free port")


# --- configuration --------------------------------------------------------

def render(value):
    """A Python value as libconfig writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return "%.6f" % value
    if isinstance(value, str):
        return '"%s"' % value.replace("\\", "\\\\").replace('"', '\\"')
    if isinstance(value, dict):
        return "{ %s }" % " ".join("%s = %s;" % (k, render(v))
                                   for k, v in value.items())
    if value and all(isinstance(v, dict) for v in value):
        return "(\n  %s )" % ",\n  ".join(render(v) for v in value)
    return "[ %s ]" % ", ".join(render(v) for v in value)


_secrets = set()


def keep_secret(text):
    """From now on no log may hold it."""
    _secrets.add(text)
    return text


def new_secret():
    return keep_secret(base64.b64encode(os.urandom(32)).decode())


def secret_forms(text):
    raw = base64.b64decode(text)
    return {text, text.rstrip("="), raw.hex(), raw.hex().upper()}


def reverse(name, connect, listen="127.0.0.1:0", entry=None, exit=None):
    """(tunnel of the edge, tunnel of the home); users arrive at the edge."""
    return (dict(name=name, listen=listen, **(entry or {})),
            dict(name=name, connect=connect, **(exit or {})))


def forward(name, connect, listen="127.0.0.1:0", entry=None, exit=None):
    """As reverse(), but users arrive at the home."""
    return reverse(name, connect, listen, entry, exit)[::-1]


# --- the admin socket -----------------------------------------------------

class AdminError(Exception):
    def __init__(self, error):
        super().__init__("%s: %s" % (error.get("code"), error.get("message")))
        self.code = error.get("code")


class Admin:
    """A client of the admin protocol that keeps its connection."""

    def __init__(self, path, timeout=15.0):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(timeout * FACTOR)
        try:
            self.sock.connect(path)
        except OSError:
            self.sock.close()
            raise
        self.file = self.sock.makefile("rb")
        self.serial = 0

    def close(self):
        self.file.close()
        self.sock.close()

    def send_line(self, line):
        self.sock.sendall(line if isinstance(line, bytes) else line.encode())

    def read_line(self):
        """One answer, or None once the daemon has closed (with bytes of ours
        unread, that is a reset)."""
        try:
            line = self.file.readline()
        except ConnectionResetError:
            return None
        assert not line or line.endswith(b"\n"), line
        return json.loads(line) if line else None

    def pieces(self, cmd, **args):
        """The raw answer lines of one request."""
        self.serial += 1
        request = {"id": self.serial, "cmd": cmd}
        if args:
            request["args"] = args
        self.send_line(json.dumps(request) + "\n")
        lines = []
        while True:
            answer = self.read_line()
            if answer is None:
                raise ConnectionError("admin socket closed")
            assert answer["id"] == self.serial, answer
            if not answer["ok"]:
                raise AdminError(answer["error"])
            lines.append(answer)
            if not answer.get("more"):
                return lines

    def __call__(self, cmd, **args):
        lines = self.pieces(cmd, **args)
        if isinstance(lines[0]["data"], list):
            return [row for line in lines for row in line["data"]]
        assert len(lines) == 1
        return lines[0]["data"]


# --- the daemon -----------------------------------------------------------

class Daemon:
    """One tunneld with a directory of its own. `config` is a dict that
    start() writes out, unless `text` is given."""

    def __init__(self, name, *, gateway=None, peers=(), tunnels=(),
                 daemon=None, user=None, netns=None, nofile=None, text=None,
                 directory=None, env=None):
        self.name = name
        self.user = user if IS_ROOT else None
        self.netns = netns
        self.nofile = nofile
        self.env = env or {}
        self.text = text
        self.process = None
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
        with open(self.config_path, "w") as file:
            file.write(text)
        os.chmod(self.config_path, 0o644)

    # life

    def launch(self, *options):
        """Starts the process and waits for nothing."""
        assert self.process is None or self.process.poll() is not None
        self.write_config()
        if self.user and self.binary == TUNNELD:
            # The build may lie where an ordinary user cannot reach it.
            self.binary = shutil.copy(TUNNELD, self.path("tunneld"))
            os.chmod(self.binary, 0o755)
        log = os.open(self.log_path,
                      os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            self.process = spawn(
                [self.binary] + list(options or ["-f", "-c",
                                                 self.config_path]),
                netns=self.netns, user=self.user, nofile=self.nofile,
                stdout=log, stderr=log, cwd=self.directory,
                env=dict(os.environ, **self.env))
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
            return self.version()["pid"] == self.process.pid
        except (OSError, ConnectionError):
            return False

    def version(self):
        return self.admin("version")

    def signal(self, number):
        self.process.send_signal(number)

    def kill(self):
        """SIGKILL: no farewell."""
        self.stopped_by_test = True
        end_process(self.process)

    def stop(self, within=2.0):
        """SIGTERM; the promises of an orderly end are checked."""
        began = time.monotonic()
        self.signal(signal.SIGTERM)
        try:
            status = self.process.wait(within * FACTOR + 20)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError("%s ignores SIGTERM" % self.name)
        took = time.monotonic() - began
        self.stopped_by_test = True
        assert status == self.expect_status, \
            "%s ended with status %d" % (self.name, status)
        assert took < within * FACTOR, \
            "%s took %.2f s to end" % (self.name, took)

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
            for secret in _secrets:
                for form in secret_forms(secret):
                    assert form not in log, "%s logs a secret" % self.name
        finally:
            if self.process:
                end_process(self.process)

    def remove(self):
        if self.own_directory:
            shutil.rmtree(self.directory, ignore_errors=True)

    # what it says

    def log(self):
        with contextlib.suppress(FileNotFoundError):
            with open(self.log_path, errors="replace") as file:
                return file.read()
        return ""

    def admin(self, cmd, **args):
        client = Admin(self.admin_path)
        try:
            return client(cmd, **args)
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
        return len(os.listdir("/proc/%d/fd" % self.process.pid))

    def rss_kib(self):
        with open("/proc/%d/status" % self.process.pid) as file:
            return int(re.search(r"VmRSS:\s+(\d+)", file.read()).group(1))

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


# --- network namespaces ---------------------------------------------------

_libc = ctypes.CDLL(None, use_errno=True)


class Netns:
    """A network namespace that lives as long as the process that holds it,
    which ends with this one."""

    def __init__(self):
        self.holder = spawn(["unshare", "--net", "sh", "-c",
                             "echo ready; exec cat"],
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.holder.stdout.readline() == b"ready\n"
        self.pid = self.holder.pid
        self.run("ip", "link", "set", "lo", "up")

    def run(self, *argv):
        return run("nsenter", "--net=/proc/%d/ns/net" % self.pid, "--", *argv)

    def call(self, function, *args):
        """function(*args) in this namespace; sockets it makes stay in it."""
        box = []

        def body():
            fd = os.open("/proc/%d/ns/net" % self.pid, os.O_RDONLY)
            try:
                if _libc.setns(fd, 0x40000000):
                    raise OSError(ctypes.get_errno(), "setns")
                box.append((function(*args), None))
            except BaseException as error:
                box.append((None, error))
            finally:
                os.close(fd)

        thread = threading.Thread(target=body)
        thread.start()
        thread.join()
        value, error = box[0]
        if error:
            raise error
        return value

    def drop_all(self, device):
        """From now on every packet over device vanishes, both ways."""
        self.run("nft", "add table inet silence; "
                 "add chain inet silence in "
                 "{ type filter hook input priority 0; }; "
                 "add chain inet silence out "
                 "{ type filter hook output priority 0; }; "
                 "add rule inet silence in iifname %s drop; "
                 "add rule inet silence out oifname %s drop" %
                 (device, device))

    def drop_to(self, address):
        self.run("nft", "add table inet hole; "
                 "add chain inet hole out "
                 "{ type filter hook output priority 0; }; "
                 "add rule inet hole out ip daddr %s drop" % address)

    def drop_none(self):
        self.run("nft", "flush ruleset")

    def close(self):
        end_process(self.holder)
        self.holder.stdin.close()
        self.holder.stdout.close()


def join_netns(a, b):
    """A cable between two namespaces: 10.77.0.1 in a, 10.77.0.2 in b."""
    run("nsenter", "--net=/proc/%d/ns/net" % a.pid, "--", "ip", "link", "add",
        "veth0", "type", "veth", "peer", "name", "veth0", "netns",
        str(b.pid))
    for netns, host in ((a, "10.77.0.1"), (b, "10.77.0.2")):
        netns.run("ip", "addr", "add", host + "/24", "dev", "veth0")
        netns.run("ip", "link", "set", "veth0", "up")


@contextlib.contextmanager
def tmpfs(path, size):
    """A file system of `size` bytes at path."""
    os.makedirs(path, exist_ok=True)
    run("mount", "-t", "tmpfs", "-o", "size=%d,mode=0755" % size, "tmpfs",
        path)
    try:
        yield path
    finally:
        run("umount", "-l", path)
