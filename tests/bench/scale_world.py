# SPDX-License-Identifier: ISC
"""What tests/bench/scale_sessions.py and scale_links.py share: a network
namespace of their own, daemons, and what the kernel says of a process."""

import atexit
import base64
import contextlib
import json
import os
import pathlib
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request

import place
from place import Absent, Failed, need
from relays import World, tied

PORTS = pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range")
PAGE = os.sysconf("SC_PAGE_SIZE")
LOAD = pathlib.Path(__file__).with_name("scale_load.py")


def add_options(parser):
    parser.add_argument("--build", default=str(place.TOP), metavar="DIR")
    parser.add_argument("--congestion", default="cubic")
    parser.add_argument("--preload", action="store_true",
                        help="set it by a preloaded library, not the sysctl")
    parser.add_argument("--json", metavar="FILE", help="- is the output")
    parser.add_argument("--keep-log", metavar="FILE",
                        help="what the daemons said")


def go_inside(args):
    """A namespace of our own, and as many descriptors as we may have."""
    place.go_inside()
    need("ss", "iproute2")
    need("wrk", "wrk")
    directory = tempfile.mkdtemp(prefix="bench-")
    atexit.register(shutil.rmtree, directory)
    os.environ.update(place.set_congestion(args.congestion, directory,
                                           args.preload))
    # connect() searches the longer the more ports to one address are in use:
    # that is the kernel's, and comes of all being on one machine.
    with contextlib.suppress(OSError):
        PORTS.write_text("22000 65535", encoding="ascii")


def run_inside(run, args):
    """What run gives there, with a directory of its own; a failure is told."""
    try:
        go_inside(args)
        with tempfile.TemporaryDirectory(prefix="bench-scale-") as directory:
            return run(args, directory)
    except (Absent, Failed) as error:
        sys.exit(f"bench: {error}")


def descriptors():
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def machine(args):
    """What figures mean nothing without. All connections were looked at:
    ScaleWorld.check_congestion()."""
    return {**place.machine(), "versions": place.versions(args.build),
            "congestion": args.congestion,
            "preloaded": "BENCH_CONGESTION" in os.environ}


# --- of a process -----------------------------------------------------------

def read_fields(path):
    """The lines "Name: 12 kB", in KiB."""
    text = pathlib.Path(path).read_text(encoding="ascii", errors="replace")
    return {name: int(value) for name, value in
            re.findall(r"^(\w+):\s+(\d+) kB", text, re.MULTILINE)}


def memory(pid):
    """KiB: its share of what is in memory, what is its own alone, and what of
    that no file is behind (heap, stacks)."""
    fields = read_fields(f"/proc/{pid}/smaps_rollup")
    return {"pss": fields["Pss"],
            "uss": fields["Private_Clean"] + fields["Private_Dirty"],
            "heap": fields["Anonymous"]}


def cpu(pid):
    """Seconds of all its threads, as the scheduler counts them."""
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/schedstat",
                  encoding="ascii") as file:
            total += int(file.read().split()[0])
    return total / 1e9


def count_descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


# --- of the kernel ----------------------------------------------------------

def kernel_memory():
    """KiB, of the whole machine: slabs (sockets and what hangs from them) and
    the buffers of TCP."""
    sockstat = pathlib.Path("/proc/net/sockstat").read_text(encoding="ascii")
    pages = int(re.search(r"^TCP:.* mem (\d+)", sockstat, re.MULTILINE)[1])
    return {"slab": read_fields("/proc/meminfo")["Slab"],
            "buffers": pages * PAGE // 1024}


def netstat(*names):
    """Counters of this namespace."""
    lines = pathlib.Path("/proc/net/netstat").read_text(
        encoding="ascii").splitlines()
    values = {}
    for head, row in zip(lines[::2], lines[1::2]):
        values.update(zip(head.split()[1:], row.split()[1:]))
    return {name: int(values[name]) for name in names}


# --- daemons ----------------------------------------------------------------

class Daemon:
    """One process, and a file with what it says."""

    def __init__(self, world, name, build, config):
        self.world, self.name = world, name
        self.build = os.path.abspath(build)
        self.config = world.write(f"{name}.conf", config)
        self.log = world.directory / f"{name}.log"
        self.process = None
        self.start()

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                tied(f"{self.build}/tunneld", "-f", "--no-master", "-c",
                     self.config),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.world.processes.append(self.process)

    @property
    def pid(self):
        if self.process.poll() is not None:
            raise Failed(f"{self.name} ended with {self.process.returncode}")
        return self.process.pid

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def said(self, words, offset=0):
        """How often, behind so many bytes of its log."""
        with open(self.log, "rb") as file:
            file.seek(offset)
            return file.read().count(words)

    def control(self, *words):
        done = subprocess.run(
            [f"{self.build}/tunnelctl", "-s",
             f"{self.world.directory}/{self.name}.sock", "--json", *words],
            capture_output=True, text=True, check=False, timeout=60)
        if done.returncode != 0:
            raise Failed(f"tunnelctl {words}: {done.stderr}")
        return json.loads(done.stdout)


def daemon_config(world, name, log_level="warning", more=""):
    directory = world.directory
    return (f'daemon = {{ name = "{name}"; log = "stderr"; '
            f'log_level = "{log_level}"; '
            f'admin_socket = "{directory}/{name}.sock"; '
            f'database = "{directory}/{name}.db"; {more} }};\n')


class ScaleWorld(World):
    """With nothing behind it but nginx, for as many as can come."""

    def __init__(self, directory, congestion):
        super().__init__(directory, None, congestion)

    def check_congestion(self):
        """Of all connections that there are now."""
        place.check_congestion(self.congestion)

    def start_services(self):
        self.start_web("keepalive_timeout 1h; keepalive_time 10h; "
                       "reset_timedout_connection off;")

    def write_secret(self, name):
        path = self.directory / name
        path.write_text(base64.b64encode(os.urandom(32)).decode() + "\n",
                        encoding="ascii")
        path.chmod(0o600)
        return path

    def served(self):
        """Connections that nginx has, but this one; and requests so far."""
        url = f"http://127.0.0.1:{self.status_port}/"
        with urllib.request.urlopen(url, timeout=10) as answer:
            lines = answer.read().decode().split("\n")
        return int(lines[0].split()[2]) - 1, int(lines[2].split()[2]) - 1


class Holders:
    """So many idle users, split over processes."""

    SHARE = 5000

    def __init__(self, port, count, limit=None):
        share = limit or self.SHARE
        self.count = count
        self.processes = []
        for first in range(0, count, share):
            self.processes.append(subprocess.Popen(
                tied(sys.executable, "-B", LOAD, port,
                     min(share, count - first)),
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        held = sum(int(self.read(one).split()[1]) for one in self.processes)
        if held != count:
            self.close()
            raise Failed(f"{held} users are held, not {count}")

    @staticmethod
    def read(process):
        line = process.stdout.readline()
        if not line:
            raise Failed("users were lost")
        return line

    def tell(self, words):
        for process in self.processes:
            process.stdin.write(words + "\n")
            process.stdin.flush()
        for process in self.processes:
            self.read(process)

    def close(self):
        for process in self.processes:
            process.kill()
            process.wait()
            process.stdin.close()
            process.stdout.close()
        self.processes = []


def wait_until(what, seconds, test):
    until = time.monotonic() + seconds
    while not test():
        if time.monotonic() > until:
            raise Failed(f"not within {seconds:g} s: {what}")
        time.sleep(0.02)


def show_json(args, results):
    text = json.dumps(results, indent=1)
    if args.json == "-":
        print(text)
    elif args.json:
        pathlib.Path(args.json).write_text(text + "\n", encoding="utf-8")
