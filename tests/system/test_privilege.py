# SPDX-License-Identifier: ISC
"""What the daemon may do once it runs: user, groups, capabilities, and the
system calls that are left to it."""

import os
import pwd
import re
import signal
import socket

import pytest

import harness
from harness import ORDINARY_USER, reverse
from reloads import apply, hang_up, said_refused, tunnel_of
from services import round_trip

CHOWN, DAC_OVERRIDE, FOWNER, NET_BIND_SERVICE = 0, 1, 3, 10
SECCOMP_FILTER = "2"

pytestmark = pytest.mark.skipif(not harness.IS_ROOT,
                                reason="NEEDS ROOT: to give it up")


def bits(*caps):
    return sum(1 << cap for cap in caps)


def statuses(d):
    """What the kernel says of each of its threads."""
    pid = d.version()["pid"]
    said = []
    for task in os.listdir("/proc/%d/task" % pid):
        with open("/proc/%d/task/%s/status" % (pid, task)) as file:
            said.append(dict(re.findall(r"(\w+):\t(.*)\n", file.read())))
    return said


def check_caps(d, caps, bounding=0):
    for said in statuses(d):
        assert int(said["CapEff"], 16) == caps, said
        assert int(said["CapPrm"], 16) == caps, said
        assert int(said["CapInh"], 16) == 0, said
        assert int(said["CapAmb"], 16) == 0, said
        if bounding is not None:
            assert int(said["CapBnd"], 16) == bounding, said
        assert said["NoNewPrivs"] == "1", said
        assert said["Seccomp"] == SECCOMP_FILTER, said


def check_user(d, user=ORDINARY_USER):
    entry = pwd.getpwnam(user)
    groups = set(os.getgrouplist(user, entry.pw_gid))
    for said in statuses(d):
        assert said["Uid"].split() == [str(entry.pw_uid)] * 4
        assert said["Gid"].split() == [str(entry.pw_gid)] * 4
        assert set(map(int, said["Groups"].split())) <= groups


def port_of(service):
    return int(service.address.rsplit(":", 1)[1])


def low_port():
    """One below 1024 that is free."""
    for port in range(1023, 600, -1):
        with socket.socket() as sock:
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no free port below 1024")


def as_user(d, *options):
    """Started as an ordinary user, as systemd would."""
    entry = pwd.getpwnam(ORDINARY_USER)
    for path in (d.directory, *(os.path.join(d.directory, name)
                                for name in os.listdir(d.directory))):
        os.chown(path, entry.pw_uid, entry.pw_gid)
    binary = d.path("tunneld")
    harness.run("install", "-m", "755", harness.TUNNELD, binary)
    d.binary = d.path("start")
    with open(d.binary, "w") as file:
        file.write("#!/bin/sh\nexec setpriv --reuid %d --regid %d "
                   "--clear-groups %s -- %s \"$@\"\n" %
                   (entry.pw_uid, entry.pw_gid, " ".join(options), binary))
    os.chmod(d.binary, 0o755)
    return d


@pytest.fixture
def alone(daemon, echo):
    """alone(**daemon_options): one with a tunnel; not started."""
    def make(**options):
        d = daemon("alone", daemon=options, tunnels=[
            {"name": "web", "listen": "127.0.0.1:0",
             "connect": echo.address}])
        if "user" in options:
            entry = pwd.getpwnam(options["user"])
            os.chown(d.directory, entry.pw_uid, entry.pw_gid)
        return d
    return make


def check_low_port(d):
    """A reload opens it, as a start would, and lets go of it."""
    tunnel_of(d, "web")["listen"] = "127.0.0.1:%d" % low_port()
    apply(d)
    round_trip(d.tunnel("web")["listen"])
    tunnel_of(d, "web")["listen"] = "127.0.0.1:0"
    apply(d)
    round_trip(d.tunnel("web")["listen"])


# --- who it is ------------------------------------------------------------

def test_root_with_a_user(alone):
    d = alone(user=ORDINARY_USER)
    tunnel_of(d, "web")["listen"] = "127.0.0.1:%d" % low_port()
    d.start()
    round_trip(d.tunnel("web")["listen"])
    check_user(d)
    check_caps(d, bits(NET_BIND_SERVICE))
    check_low_port(d)
    check_caps(d, bits(NET_BIND_SERVICE))
    # Its user's in every way: a core can be had of it.
    assert os.stat("/proc/%d" % d.version()["pid"]).st_uid == \
        pwd.getpwnam(ORDINARY_USER).pw_uid


def test_root_that_stays_root(alone):
    d = alone().start()
    round_trip(d.tunnel("web")["listen"])
    check_user(d, "root")
    check_caps(d, bits(CHOWN, DAC_OVERRIDE, FOWNER, NET_BIND_SERVICE))
    check_low_port(d)


def test_root_in_a_container(alone):
    """Without CAP_SETPCAP and CAP_NET_BIND_SERVICE: what it has not, it
    cannot keep, and the bounding set is not its own."""
    d = alone(user=ORDINARY_USER)
    d.binary = d.path("start")
    with open(d.binary, "w") as file:
        file.write("#!/bin/sh\nexec setpriv --bounding-set "
                   "-setpcap,-net_bind_service -- %s \"$@\"\n" %
                   harness.TUNNELD)
    os.chmod(d.binary, 0o755)
    d.start()
    check_user(d)
    check_caps(d, 0, bounding=None)
    round_trip(d.tunnel("web")["listen"])


def test_user_with_one_capability(alone):
    """As of systemd: AmbientCapabilities=CAP_NET_BIND_SERVICE."""
    d = as_user(alone(), "--inh-caps=-all,+net_bind_service",
                "--ambient-caps=-all,+net_bind_service",
                "--bounding-set=-all,+net_bind_service")
    tunnel_of(d, "web")["listen"] = "127.0.0.1:%d" % low_port()
    d.start()
    check_user(d)
    check_caps(d, bits(NET_BIND_SERVICE), bounding=bits(NET_BIND_SERVICE))
    check_low_port(d)


def test_user_with_too_many(alone):
    d = as_user(alone(), *("--%s-caps=-all,+net_bind_service,+net_admin,"
                           "+sys_ptrace" % kind
                           for kind in ("inh", "ambient")))
    d.start()
    check_user(d)
    check_caps(d, bits(NET_BIND_SERVICE), bounding=None)


def test_user_without_any(alone):
    d = as_user(alone()).start()
    check_user(d)
    check_caps(d, 0, bounding=None)
    listen = tunnel_of(d, "web")["listen"]
    tunnel_of(d, "web")["listen"] = "127.0.0.1:%d" % low_port()
    assert "ermission" in said_refused(d)
    tunnel_of(d, "web")["listen"] = listen
    round_trip(d.tunnel("web")["listen"])


def test_dies_with_its_parent_all_the_same(alone):
    """The kernel forgets PR_SET_PDEATHSIG when the user changes."""
    d = alone(user=ORDINARY_USER)
    d.binary = d.path("start")
    with open(d.binary, "w") as file:
        file.write("#!/bin/sh\nsetpriv --pdeathsig KILL -- %s \"$@\"\n"
                   "exit 1\n" % harness.TUNNELD)
    os.chmod(d.binary, 0o755)
    d.launch()

    def answers():
        try:
            return d.version()["pid"]
        except OSError:
            return None

    pid = harness.wait_until(answers, 15, "it to answer")
    assert pid != d.process.pid
    d.kill()
    harness.wait_until(lambda: not os.path.exists("/proc/%d" % pid), 10,
                       "the orphan to be gone")


# --- the sandbox ----------------------------------------------------------

def test_sandbox_can_be_switched_off(alone):
    d = alone(user=ORDINARY_USER, sandbox=False).start()
    for said in statuses(d):
        assert said["Seccomp"] == "0"
        assert said["NoNewPrivs"] == "1"
    assert "no sandbox" in d.log()
    round_trip(d.tunnel("web")["listen"])


@pytest.mark.parametrize("word", ["off", "", "KILL"])
def test_environment_makes_it_no_weaker(alone, word):
    d = alone()
    d.env["TUNNELD_SANDBOX"] = word
    d.expect_status = 1
    d.launch()
    assert d.process.wait(10 * harness.FACTOR) == 1
    assert "TUNNELD_SANDBOX" in d.log()


def test_sandbox_as_users_have_it(pair_of, echo):
    """Not the deadly one of all other tests: names, UNIX sockets, reload,
    the end."""
    p = pair_of("tls", [reverse("web", "localhost:%d" % port_of(echo))])
    for d in p.both():
        d.env["TUNNELD_SANDBOX"] = None
    p.start()
    for d in p.both():
        assert {s["Seccomp"] for s in statuses(d)} == {SECCOMP_FILTER}
    round_trip(p.entry("web"))
    tunnel_of(p.edge, "web")["listen"] = "unix:" + p.edge.path("users")
    apply(p.edge)
    hang_up(p.home)
    p.wait_up()


def test_everything_that_is_loaded_late(alone, echo):
    """Names are looked up, also of an unknown user, by libraries that are
    loaded when they are first needed."""
    d = alone(admin_read_group="daemon")
    d.config["tunnels"] += [
        {"name": "name%d" % n, "listen": "127.0.0.1:0", "connect": name}
        for n, name in enumerate(("no-such-host.invalid:1",
                                  "localhost:%d" % port_of(echo)))]
    d.start()
    round_trip(d.tunnel("name1")["listen"])
    with socket.create_connection(
            tuple(d.tunnel("name0")["listen"].rsplit(":", 1))) as user:
        user.settimeout(30)
        try:
            assert user.recv(1) == b""
        except ConnectionResetError:
            pass
    harness.run("setpriv", "--reuid", "54321", "--regid", "54321", "--groups",
                "1", harness.TUNNELCTL, "-s", d.admin_path, "status",
                check=False)
    assert d.process.poll() is None


def test_core_where_limits_allow(alone):
    """The signal that would leave one arrives as it should."""
    d = alone(user=ORDINARY_USER).start()
    d.expect_status = -signal.SIGQUIT
    d.signal(signal.SIGQUIT)
    assert d.process.wait(10 * harness.FACTOR) == -signal.SIGQUIT
