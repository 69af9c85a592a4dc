# SPDX-License-Identifier: ISC
"""The subjects: tunneld in its modes, and well-known relays, each as a chain of
two that a user of one machine would put between a user and a service."""

import base64
import contextlib
import getpass
import os
import pathlib
import resource
import sqlite3
import subprocess
import time

from guests import GUESTS
from place import Absent, Failed, compile_c, need, shout
from relays import Subject, wait_for_port

SSHD_ROOM = pathlib.Path("/run/sshd")
NONE = "no-relay"
TUNNELS = ("mux-plain", "direct-plain", "mux-tls", "direct-tls",
           "mux-plain-off", "direct-plain-off")
RELAYS = ("splice-loop", "haproxy", "haproxy-splice", "nginx", "ssh",
          "stunnel")
ALL = (NONE, *TUNNELS, *RELAYS, *GUESTS)
LABELS = {NONE: "no relay", "mux-plain": "tunneld mux plain",
          "direct-plain": "tunneld direct plain",
          "mux-tls": "tunneld mux tls", "direct-tls": "tunneld direct tls",
          "mux-plain-off": "tunneld mux, no ledger",
          "direct-plain-off": "tunneld direct, no ledg.",
          "splice-loop": "bare splice loop", "haproxy": "haproxy pair",
          "haproxy-splice": "haproxy pair, splice", "nginx": "nginx stream pair",
          "ssh": "ssh -R, AES-GCM", "stunnel": "stunnel pair"}


def label(name):
    kind, at, build = name.partition("@")
    return LABELS.get(kind, kind) + at + build


# --- tunneld ------------------------------------------------------------------

def ledger_off(path):
    """There is no switch. Of a newer version, the ledger leaves the file alone:
    rows are made and queued, and lost once the queue is full."""
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 1000000")
    database.close()


def start_tunneld(world, name, kind, build):
    """A pair of daemons; the users are those of the one that is dialled."""
    subject = Subject(world, name)
    mode, security, *off = kind.split("-")
    directory = subject.directory()
    secret = world.write(f"{name}/secret", base64.b64encode(
        os.urandom(32)).decode() + "\n", 0o600)
    gateway = world.take_port()
    ends = {
        "edge": (f'gateway = {{ listen = [ "127.0.0.1:{gateway}" ]; }};',
                 "home", "", "listen", subject.ports),
        "home": ("", "edge", f'connect = "127.0.0.1:{gateway}";', "connect",
                 world.services)}
    for end, (head, peer, connect, which, ports) in ends.items():
        if off:
            ledger_off(directory / f"{end}.db")
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


# --- the others ---------------------------------------------------------------

def room():
    """Descriptors for connections."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 500


def ends_of(world, subject):
    """Of a pair: (end, what it listens on, where that leads to)."""
    inner = {one: world.take_port() for one in subject.ports}
    return (("edge", subject.ports, inner), ("home", inner, world.services))


def start_none(world, name):
    subject = Subject(world, name)
    subject.ports = dict(world.services)
    return subject


def start_splice_loop(world, name):
    subject = Subject(world, name)
    program = compile_c(world.directory, "splice_loop.c")
    for _, ports, to in ends_of(world, subject):
        subject.start(program, *(f"{port}:{to[one]}"
                                 for one, port in ports.items()))
    return subject


def start_haproxy(world, name, threads=1):
    program = need("haproxy", "haproxy")
    subject = Subject(world, name)
    splice = "  option splice-request\n  option splice-response\n" \
        if name.endswith("-splice") else ""
    for end, ports, to in ends_of(world, subject):
        listens = "\n".join(
            f"listen {one}\n  bind 127.0.0.1:{port} backlog 4096\n"
            f"  server s 127.0.0.1:{to[one]}" for one, port in ports.items())
        config = world.write(f"{name}-{end}.cfg", f"""
global
  maxconn {room() // (3 if splice else 2)}
  nbthread {threads}
defaults
  mode tcp
  timeout connect 10s
  timeout client 1h
  timeout server 1h
{splice}{listens}
""")
        subject.start(program, "-db", "-f", config)
    return subject


def nginx_module(program):
    """What a pair of nginx needs at the head of its files."""
    said = subprocess.run([program, "-V"], capture_output=True, text=True,
                          check=True).stderr
    if "--with-stream " in said + " ":
        return ""
    where = [word.partition("=")[2] for word in said.split()
             if word.startswith("--modules-path=")]
    for directory in where + ["/usr/lib/nginx/modules"]:
        path = pathlib.Path(directory) / "ngx_stream_module.so"
        if path.exists():
            return f"load_module {path};"
    raise Absent("nginx has no stream module (on Debian: "
                 "libnginx-mod-stream)")


def start_nginx(world, name):
    program = need("nginx", "nginx-light")
    module = nginx_module(program)
    subject = Subject(world, name)
    for end, ports, to in ends_of(world, subject):
        servers = "\n".join(
            f"  server {{ listen 127.0.0.1:{port} backlog=4096; "
            f"proxy_pass 127.0.0.1:{to[one]}; }}"
            for one, port in ports.items())
        directory = subject.directory()
        config = world.write(f"{name}/{end}.conf", f"""
{module}
daemon off; master_process off; user root root; worker_rlimit_nofile {room()};
pid {directory}/{end}.pid; error_log {directory}/{end}.log;
events {{ worker_connections {room()}; }}
stream {{ proxy_buffer_size 64k; proxy_timeout 1h;
{servers}
}}
""")
        subject.start(program, "-c", config, "-p", directory)
    return subject


def make_key(path):
    subprocess.run([need("ssh-keygen", "openssh-client"), "-q", "-t",
                    "ed25519", "-N", "", "-f", path], check=True)
    return path


def prepare_sshd():
    """It locks itself in a directory that Debian's service makes, and that
    must be root's: in a user's namespace nothing is."""
    if os.getuid() == 0:
        with contextlib.suppress(OSError):
            SSHD_ROOM.mkdir(exist_ok=True)
        if not SSHD_ROOM.exists() or SSHD_ROOM.stat().st_uid != 0:
            raise Absent(f"sshd needs {SSHD_ROOM} of root")


def start_ssh(world, name):
    """An sshd of its own, with keys made for the run; the ports are those that
    sshd opens for -R."""
    sshd = need("sshd", "openssh-server")
    ssh = need("ssh", "openssh-client")
    need("ssh-keygen", "openssh-client")
    prepare_sshd()
    subject = Subject(world, name)
    directory = subject.directory()
    host, user = make_key(directory / "host"), make_key(directory / "user")
    port = world.take_port()
    public = user.with_suffix(".pub").read_text(encoding="utf-8")
    world.write(f"{name}/authorized", public, 0o600)
    config = world.write(f"{name}/sshd.conf", f"""
ListenAddress 127.0.0.1:{port}
HostKey {host}
PidFile none
AuthorizedKeysFile {directory}/authorized
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin prohibit-password
Ciphers aes128-gcm@openssh.com
""")
    subject.start(sshd, "-D", "-e", "-f", config)
    wait_for_port(port)
    forwards = [word for one in subject.ports for word in
                ("-R", f"127.0.0.1:{subject.ports[one]}:127.0.0.1:"
                       f"{world.services[one]}")]
    subject.start(ssh, "-N", "-F", "none", "-i", user, "-p", port,
                  "-o", "StrictHostKeyChecking=no",
                  "-o", f"UserKnownHostsFile={directory}/known",
                  "-o", "ExitOnForwardFailure=yes", "-o", "BatchMode=yes",
                  "-c", "aes128-gcm@openssh.com", *forwards,
                  f"{getpass.getuser()}@127.0.0.1")
    return subject


def start_stunnel(world, name):
    """With an RSA certificate, as its manual has it."""
    program = need("stunnel", "stunnel4")
    openssl = need("openssl", "openssl")
    subject = Subject(world, name)
    directory = subject.directory()
    pem = directory / "key.pem"
    subprocess.run([openssl, "req", "-x509", "-newkey", "rsa:2048",
                    "-nodes", "-subj", "/CN=bench", "-days", "2", "-keyout",
                    pem, "-out", pem.with_suffix(".crt")], check=True,
                   stderr=subprocess.DEVNULL)
    for end, ports, to in ends_of(world, subject):
        more = "client = yes" if end == "edge" else \
            f"cert = {pem.with_suffix('.crt')}\nkey = {pem}"
        services = "\n".join(
            f"[{one}]\naccept = 127.0.0.1:{port}\n"
            f"connect = 127.0.0.1:{to[one]}\n{more}"
            for one, port in ports.items())
        config = world.write(
            f"{name}/{end}.conf",
            f"foreground = yes\npid =\ndebug = 3\nsyslog = no\n"
            f"socket = l:TCP_NODELAY=1\nsocket = r:TCP_NODELAY=1\n{services}")
        subject.start(program, config)
    return subject


STARTERS = {NONE: start_none, "splice-loop": start_splice_loop,
            "haproxy": start_haproxy, "haproxy-splice": start_haproxy,
            "nginx": start_nginx, "ssh": start_ssh, "stunnel": start_stunnel}


# --- all of them --------------------------------------------------------------

def start_one(world, name, builds, threads):
    """[Subject]; of tunneld, one for each build."""
    if name in TUNNELS:
        started = []
        for i, build in enumerate(builds):
            label_, _, path = build.rpartition("=")
            where = os.path.abspath(path)
            if not os.access(f"{where}/tunneld", os.X_OK):
                raise Failed(f"{where}/tunneld is not there: build it first")
            started.append(start_tunneld(
                world, name if i == 0 else f"{name}@{label_ or i}", name,
                where))
        return started
    if name in GUESTS:
        return [GUESTS[name](world, name)]
    if name.startswith("haproxy"):
        return [start_haproxy(world, name, threads)]
    return [STARTERS[name](world, name)]


def start_subjects(world, builds, which, threads):
    """([Subject], {name: why it is absent}); each one proven to work."""
    subjects, absent = [], {}
    for name in which:
        try:
            subjects += start_one(world, name, builds, threads)
        except Absent as error:
            absent[name] = str(error)
            shout(f"ABSENT: {name}: {error}")
    for subject in subjects:
        subject.prove()
    time.sleep(0.2)
    return subjects, absent
