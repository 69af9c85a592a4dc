# SPDX-License-Identifier: ISC
"""Chains of relays side by side, and the services behind them: tunneld in both
modes, and well-known relays."""

import base64
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request

TUNNELS = ("mux-plain", "direct-plain", "mux-tls", "direct-tls")
OTHERS = ("haproxy", "stunnel")
BODY = 128
TICK = os.sysconf("SC_CLK_TCK")


class Failed(Exception):
    """Something that makes every figure worthless."""


# --- the ends -------------------------------------------------------------

def echo_server(port):
    """Gives back what it gets, one user at a time."""
    with socket.create_server(("127.0.0.1", port)) as listener:
        while True:
            with listener.accept()[0] as user:
                user.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                try:
                    while data := user.recv(4096):
                        user.sendall(data)
                except OSError:
                    pass


class World:
    """The directory, the services, and ports that nobody else has."""

    def __init__(self, directory):
        self.directory = pathlib.Path(directory)
        self.port = 20000
        self.processes = []
        self.services = {name: self.take_port()
                         for name in ("web", "bulk", "echo")}
        self.status_port = self.take_port()

    def take_port(self):
        while True:
            self.port += 1
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", self.port))
                    return self.port
                except OSError:
                    continue

    def write(self, name, text):
        path = self.directory / name
        path.write_text(text, encoding="utf-8")
        return path

    def start(self, *argv):
        log = open(self.directory / "log", "ab")
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "--", *map(str, argv)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        log.close()
        self.processes.append(process)
        return process

    def start_services(self):
        config = self.write("nginx.conf", f"""
daemon off; master_process off; worker_rlimit_nofile 20000;
pid {self.directory}/nginx.pid; error_log {self.directory}/nginx.log;
events {{ worker_connections 10000; }}
http {{ access_log off; keepalive_requests 1000000000;
  server {{ listen 127.0.0.1:{self.services["web"]} backlog=4096;
    location / {{ return 200 "{"x" * BODY}"; }} }}
  server {{ listen 127.0.0.1:{self.status_port};
    location / {{ stub_status; }} }} }}
""")
        self.start(shutil.which("nginx"), "-c", config, "-p", self.directory)
        self.start("iperf3", "-s", "-B", "127.0.0.1", "-p",
                   self.services["bulk"])
        self.start(sys.executable, __file__,
                   self.services["echo"])
        for port in (*self.services.values(), self.status_port):
            wait_for_port(port)

    def requests(self):
        """That nginx has answered, this one among them."""
        url = f"http://127.0.0.1:{self.status_port}/"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return int(answer.read().decode().split("\n")[2].split()[2])

    def stop(self):
        for process in reversed(self.processes):
            process.send_signal(signal.SIGTERM)
        for process in self.processes:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def wait_for_port(port):
    until = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError as error:
            if time.monotonic() > until:
                raise Failed(f"nobody listens on port {port}") from error
            time.sleep(0.05)


# --- the subjects ---------------------------------------------------------

class Subject:
    """A chain of relays."""

    def __init__(self, world, name):
        self.world = world
        self.name = name
        self.ports = {name: world.take_port() for name in world.services}
        self.processes = []

    def start(self, *argv):
        self.processes.append(self.world.start(*argv))

    def cpu(self):
        """Seconds of all processes of the chain, their children too."""
        total = 0
        for process in self.processes:
            for pid in [process.pid, *children(process.pid)]:
                stat = pathlib.Path(f"/proc/{pid}/stat").read_text(
                    encoding="utf-8").rsplit(")", 1)[1].split()
                total += int(stat[11]) + int(stat[12])
        return total / TICK


def children(pid):
    path = pathlib.Path(f"/proc/{pid}/task/{pid}/children")
    for child in path.read_text(encoding="utf-8").split():
        yield int(child)
        yield from children(int(child))


def start_tunneld(world, name, kind, build):
    """A pair of daemons; the users are those of the one that is dialled."""
    subject = Subject(world, name)
    mode, security = kind.split("-")
    directory = world.directory / name
    directory.mkdir()
    secret = directory / "secret"
    secret.write_text(base64.b64encode(os.urandom(32)).decode() + "\n",
                      encoding="utf-8")
    secret.chmod(0o600)
    gateway = world.take_port()
    ends = {
        "edge": (f'gateway = {{ listen = [ "127.0.0.1:{gateway}" ]; }};',
                 "home", "", "listen", subject.ports),
        "home": ("", "edge", f'connect = "127.0.0.1:{gateway}";', "connect",
                 world.services)}
    for end, (head, peer, connect, which, ports) in ends.items():
        tunnels = ",\n".join(
            f'  {{ name = "{one}"; peer = "{peer}"; mode = "{mode}"; '
            f'{which} = "127.0.0.1:{port}"; }}'
            for one, port in ports.items())
        config = world.write(f"{name}/{end}.conf", f"""
daemon = {{ name = "{end}"; log = "stderr"; log_level = "warning";
  admin_socket = "{directory}/{end}.sock"; database = "{directory}/{end}.db";
}};
{head}
peers = ( {{ name = "{peer}"; security = "{security}"; {connect}
  secret_file = "{secret}"; }} );
tunnels = (
{tunnels}
);
""")
        subject.start(f"{build}/tunneld", "-f", "--no-master", "-c", config)
    return subject


def start_haproxy(world, name, threads):
    subject = Subject(world, name)
    inner = {one: world.take_port() for one in subject.ports}
    for end, ports, to in (("edge", subject.ports, inner),
                           ("home", inner, world.services)):
        listens = "\n".join(
            f"listen {one}\n  bind 127.0.0.1:{port} backlog 4096\n"
            f"  server s 127.0.0.1:{to[one]}" for one, port in ports.items())
        config = world.write(f"{name}-{end}.cfg", f"""
global
  maxconn 4000
  nbthread {threads}
defaults
  mode tcp
  timeout connect 10s
  timeout client 1h
  timeout server 1h
{listens}
""")
        subject.start("haproxy", "-db", "-f", config)
    return subject


def start_stunnel(world, name):
    """With an RSA certificate, as its manual has it."""
    subject = Subject(world, name)
    inner = {one: world.take_port() for one in subject.ports}
    pem = world.directory / "stunnel.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048",
                    "-nodes", "-subj", "/CN=bench", "-days", "2", "-keyout",
                    pem, "-out", pem.with_suffix(".crt")], check=True,
                   stderr=subprocess.DEVNULL)
    for end, ports, to, more in (
            ("edge", subject.ports, inner, "client = yes"),
            ("home", inner, world.services,
             f"cert = {pem.with_suffix('.crt')}\nkey = {pem}")):
        services = "\n".join(
            f"[{one}]\naccept = 127.0.0.1:{port}\n"
            f"connect = 127.0.0.1:{to[one]}\n{more}"
            for one, port in ports.items())
        config = world.write(
            f"{name}-{end}.conf",
            f"foreground = yes\npid =\ndebug = 3\nsyslog = no\n"
            f"socket = l:TCP_NODELAY=1\nsocket = r:TCP_NODELAY=1\n{services}")
        subject.start("stunnel", config)
    return subject


def start_subjects(world, builds, which, threads):
    """[Subject], the tunneld of every build first."""
    subjects = []
    for i, build in enumerate(builds):
        label, _, path = build.rpartition("=")
        for kind in TUNNELS:
            if kind in which:
                name = kind if i == 0 else f"{kind}@{label or i}"
                subjects.append(start_tunneld(
                    world, name, kind, os.path.abspath(path)))
    if "haproxy" in which:
        subjects.append(start_haproxy(world, "haproxy", threads))
    if "stunnel" in which:
        subjects.append(start_stunnel(world, "stunnel"))
    for subject in subjects:
        wait_for_port(subject.ports["web"])
    return subjects


if __name__ == "__main__":
    echo_server(int(sys.argv[1]))
