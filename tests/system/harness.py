# SPDX-License-Identifier: ISC
"""What the system tests stand on: what is tested, processes, deadlines, ports
and what a config is made of.

TUNNELD_BUILD   directory with the tunneld and tunnelctl to test
                (default: the root of the source tree)
TUNNELD_SLOW    set when the binaries are instrumented: every deadline grows
TUNNELD_MASTER  set to run every daemon under a master
"""

import base64
import functools
import os
import pwd
import random
import re
import shutil
import socket
import subprocess
import time

import pytest

ROOT = os.path.realpath(os.path.join(os.path.dirname(__file__), "../.."))
BUILD = os.path.realpath(os.environ.get("TUNNELD_BUILD") or ROOT)
TUNNELD = os.path.join(BUILD, "tunneld")
TUNNELCTL = os.path.join(BUILD, "tunnelctl")
SLOW = bool(os.environ.get("TUNNELD_SLOW"))
MASTER = bool(os.environ.get("TUNNELD_MASTER"))
FACTOR = 6.0 if SLOW else 1.0
IS_ROOT = os.geteuid() == 0
ORDINARY_USER = "nobody"
MODE = "mux"            # of the test that runs; the fixture sets it
SECURITIES = ("plain", "tls")

os.environ["PATH"] += ":/usr/sbin:/sbin"
# A system call that is missing from the sandbox's list ends the daemon with
# SIGSYS, so that no test can pass in spite of it.
os.environ.setdefault("TUNNELD_SANDBOX", "kill")

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
    # Whoever runs the tests in the background ignores these, and so would all.
    wrap += ["env", "--default-signal=INT,QUIT"]
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


@functools.lru_cache(maxsize=None)
def knows_master():
    return "--no-master" in run(TUNNELD, "--help").stdout


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


def holds_secret(text):
    return any(form in text for secret in _secrets
               for form in secret_forms(secret))


def reverse(name, connect, listen="127.0.0.1:0", entry=None, exit=None):
    """(tunnel of the edge, tunnel of the home); users arrive at the edge."""
    return (dict(name=name, listen=listen, **(entry or {})),
            dict(name=name, connect=connect, **(exit or {})))


def forward(name, connect, listen="127.0.0.1:0", entry=None, exit=None):
    """As reverse(), but users arrive at the home."""
    return reverse(name, connect, listen, entry, exit)[::-1]
