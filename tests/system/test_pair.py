# SPDX-License-Identifier: ISC
"""The scripts that `tunnelctl pair` prints, pasted into machines: mount
namespaces with an /etc of their own."""

import json
import os
import re
import shutil
import socket
import subprocess

import pytest

import harness
from harness import TUNNELCTL, TUNNELD, run, spawn, wait_until
from services import Echo, ask

MARK = "END_OF_PAIR"


class Machine:
    """What is pasted here sees a copy of /etc, with the Debian package's user
    and sample if asked for."""

    def __init__(self, root, package):
        self.etc = os.path.join(root, "etc")
        self.bin = os.path.join(root, "bin")
        os.makedirs(os.path.join(self.etc, "tunneld", "secrets"))
        os.mkdir(self.bin)
        shutil.copy(TUNNELD, self.bin)
        for name in ("passwd", "group", "nsswitch.conf"):
            shutil.copy("/etc/" + name, self.etc)
        self.lines("passwd", package and "tunneld:x:64711:64711::/:/bin/false")
        self.lines("group", package and "tunneld:x:64711:")
        if package:
            os.chmod(self.path("secrets"), 0o750)
            os.chown(self.path("secrets"), 0, 64711)
            shutil.copy(os.path.join(harness.ROOT, "etc/tunnels.conf"),
                        self.path("tunnels.conf"))
        else:
            shutil.rmtree(self.path())

    def lines(self, name, more):
        with open(os.path.join(self.etc, name)) as file:
            kept = [line for line in file if not line.startswith("tunneld:")]
        with open(os.path.join(self.etc, name), "w") as file:
            file.writelines(kept + ([more + "\n"] if more else []))

    def path(self, *words):
        return os.path.join(self.etc, "tunneld", *words)

    def read(self, *words):
        with open(self.path(*words)) as file:
            return file.read()

    def about(self, *words):
        status = os.stat(self.path(*words))
        return oct(status.st_mode & 0o7777), status.st_uid, status.st_gid

    def files(self):
        return sorted(os.path.relpath(os.path.join(where, name), self.path())
                      for where, _, names in os.walk(self.path())
                      for name in names)

    def paste(self, text, shell="bash"):
        return run("unshare", "-m", "sh", "-c",
                   'mount --bind "$0" /etc && exec "$@"', self.etc,
                   shell, "-c", text, check=False,
                   env=dict(os.environ, PATH=self.bin + ":" +
                            os.environ["PATH"]))


@pytest.fixture
def machine(tmp_path):
    harness.need_root("a mount namespace with another /etc")
    harness.need("unshare", "mount")
    made = []

    def make(package=True):
        made.append(None)
        return Machine(os.path.join(tmp_path, str(len(made))), package)
    return make


def pair(*words):
    """What it prints: the two scripts."""
    text = run(TUNNELCTL, "pair", *words).stdout
    scripts = re.findall(r"(?ms)^ \S.*?^%s\n" % MARK, text)
    assert len(scripts) == 2, text
    for secret in re.findall(r"[A-Za-z0-9+/]{43}=", text):
        harness.keep_secret(secret)
    return scripts


@pytest.mark.parametrize("shell", ["bash", "dash"])
@pytest.mark.parametrize("package", [True, False])
def test_pasted(machine, package, shell):
    """Both sides have the secret and a configuration that passes, readable
    by the daemon's user and by nobody else."""
    edge, home = machine(package), machine(package)
    for where, script, other in zip(
            (edge, home), pair("-N", "edge1", "home", "edge.example.org:7000"),
            ("home", "edge1")):
        done = where.paste(script, shell)
        assert done.returncode == 0, done.stderr
        assert "systemctl restart tunneld" in done.stdout
        group = 64711 if package else 0
        assert where.about("secrets", other) == ("0o640", 0, group)
        assert where.about("secrets") == ("0o750", 0, group)
        assert where.about("tunnels.conf") == ("0o640", 0, group)
        assert ('user = "tunneld"' in where.read("tunnels.conf")) == package
        assert where.files() == ["secrets/" + other, "tunnels.conf"] + \
            ["tunnels.conf.old"] * package
        assert "peers: 1, tunnels: 1" in where.paste("tunneld -t").stdout
    assert edge.read("secrets/home") == home.read("secrets/edge1")
    assert 'connect = "edge.example.org:7000"' in home.read("tunnels.conf")


def test_pasted_twice(machine):
    """Neither a secret nor a configuration in use is overwritten."""
    edge = machine()
    first = pair("-N", "edge1", "home", "127.0.0.1:7000")[0]
    assert edge.paste(first).returncode == 0
    before = edge.read("secrets/home"), edge.read("tunnels.conf"), edge.files()
    for script in (first, pair("-N", "edge1", "home", "127.0.0.1:7001")[0]):
        done = edge.paste(script)
        assert done.returncode == 1
        assert "secrets/home is there already" in done.stderr
    assert before == (edge.read("secrets/home"), edge.read("tunnels.conf"),
                      edge.files())
    done = edge.paste(pair("-N", "edge1", "second", "127.0.0.1:7000")[0])
    assert done.returncode == 0 and "in use" in done.stdout, done.stderr
    assert edge.read("tunnels.conf") == before[1]
    assert 'name = "second"' in edge.read("tunnels.conf.second")
    assert edge.about("secrets", "second") == ("0o640", 0, 64711)


def test_pasted_in_vain(machine):
    """What the daemon would not take leaves nothing behind."""
    home = machine()
    script = pair("-N", "edge1", "home", "127.0.0.1:7000")[1]
    bad = script.replace('tunnels = (', 'tunnels = (!')
    before = home.files()
    done = home.paste(bad)
    assert done.returncode == 1
    assert "tunnels.conf.edge1:" in done.stderr     # the error, with its line
    assert "nothing was changed" in done.stderr
    assert home.files() == before
    os.unlink(os.path.join(home.bin, "tunneld"))
    done = home.paste("PATH=/usr/bin:/bin; " + script)
    if not shutil.which("tunneld", path="/usr/bin:/bin"):
        assert "tunneld is not installed" in done.stderr
        assert home.files() == before


def test_who_is_not_root(machine):
    home = machine()
    script = pair("-N", "edge1", "home", "127.0.0.1:7000")[1]
    asks = script.replace("$(command -v sudo)", "")
    done = subprocess.run(["setpriv", "--reuid", "65534", "--clear-groups",
                           "sh", "-c", asks], stderr=subprocess.PIPE,
                          text=True, check=False)
    assert done.returncode == 1 and "for root" in done.stderr
    assert home.files() == ["tunnels.conf"]


def test_long_names():
    """The longest there can be are not cut off."""
    host = ".".join("h" * 60 for _ in range(4))
    said = json.loads(run(TUNNELCTL, "--json", "pair", "-N", "a" * 64,
                          "b" * 64, host + ":65535").stdout)
    harness.keep_secret(said["secret"])
    for side in said["server"], said["client"]:
        assert side["config"].endswith(");\n")
        assert side["script"].endswith("\n%s\n" % MARK)


def test_script_can_be_piped():
    """As `tunnelctl --json pair ... | jq -r .client.script | ssh ...`, with
    nothing in it that a terminal or a shell would take for its own."""
    said = json.loads(run(TUNNELCTL, "--json", "pair", "-N", "a", "b",
                          "[2001:db8::1]:7000").stdout)
    harness.keep_secret(said["secret"])
    for side in said["server"], said["client"]:
        assert side["config"] in side["script"]
        assert said["secret"] in side["script"]
        assert "\t" not in side["script"] and side["script"].isascii()
        assert side["script"].startswith(" ")    # not for the history
        assert run("bash", "-n", "-c", side["script"]).stderr == ""


# --- the README, on two machines ---------------------------------------------

README = os.path.join(harness.ROOT, "README.md")


class Running:
    """A machine whose daemon runs, as root started it, at the paths that are
    built in."""

    def __init__(self, machine, netns, log):
        self.log = log
        with open(log, "w") as file:
            self.process = spawn(
                ["unshare", "-m", "sh", "-c",
                 'mount --bind "$0" /etc && mount -t tmpfs t /run && '
                 'mount -t tmpfs t /var/lib && exec tunneld -f', machine.etc],
                netns=netns, stdout=file, stderr=file,
                env=dict(os.environ, PATH=machine.bin + ":" +
                         os.environ["PATH"]))

    def ctl(self, *words):
        return run("nsenter", "--mount=/proc/%d/ns/mnt" % self.process.pid,
                   TUNNELCTL, *words, check=False)

    def said(self):
        with open(self.log) as file:
            return file.read()

    def close(self):
        self.process.terminate()
        assert self.process.wait(20) == 0, self.said()
        assert not harness.holds_secret(self.said())


def commands():
    """Of each side, what the README has one type."""
    with open(README) as file:
        part = file.read().split("## Five commands a side")[1].split("\n## ")[0]
    return [[line.strip() for line in block.strip().splitlines()]
            for block in re.findall(r"(?m)(?:^    \S.*\n)+", part)][:2]


def test_readme(machine, cable, closing, tmp_path):
    """From nothing to the machine behind NAT, in what the README says."""
    sides = commands()
    assert [len(side) for side in sides] == [5, 5]
    words = sides[0][1].split()
    assert words[:3] == ["tunnelctl", "pair", "homelab"]
    words[3] = words[3].replace("edge1.example.org", "10.77.0.1")
    scripts = pair("-N", "edge1", *words[2:])
    machines = machine(), machine()
    for each, script in zip(machines, scripts):
        assert each.paste(script).returncode == 0
    cable[1].call(lambda: closing(Echo("127.0.0.1:22")))
    ends = [closing(Running(m, ns, str(tmp_path / ("log%d" % n))))
            for n, (m, ns) in enumerate(zip(machines, cable))]
    for end, side in zip(ends, sides):
        wait_until(lambda: "link up" in end.said(), what=end.said())
        for line in side[2:]:
            if line.startswith("sudo tunnelctl "):
                done = end.ctl(*line.split()[2:])
                assert done.returncode == 0, done.stderr
        status = json.loads(end.ctl("-j", "status").stdout)
        assert [p["state"] for p in status["peers"]] == ["up"]
        with open("/proc/%d/status" % status["daemon"]["pid"]) as file:
            about = dict(line.split(":", 1) for line in file)
        # As tunneld-security(7) has it: CAP_NET_BIND_SERVICE is number 10.
        assert about["Uid"].split() == ["64711"] * 4
        assert int(about["CapEff"], 16) == 1 << 10
        assert int(about["Seccomp"]) == 2 and int(about["NoNewPrivs"]) == 1

    def user():
        with socket.create_connection(("10.77.0.1", 2222), 10) as sock:
            ask(sock, b"x")
    cable[0].call(user)
    assert ends[0].ctl("test", "ssh").returncode == 0
