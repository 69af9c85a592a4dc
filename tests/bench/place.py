# SPDX-License-Identifier: ISC
"""Where a bench runs: a network namespace of its own, the congestion control of
all sockets in it, the programs it brings along, and what machine this is."""

import os
import pathlib
import platform
import re
import resource
import shutil
import subprocess
import sys

os.environ["PATH"] += ":/usr/sbin:/sbin"
HERE = pathlib.Path(__file__).resolve().parent
TOP = HERE.parents[1]
CONTROL = pathlib.Path("/proc/sys/net/ipv4/tcp_congestion_control")
ALLOWED = pathlib.Path("/proc/sys/net/ipv4/tcp_allowed_congestion_control")
BUFFERS = tuple(CONTROL.with_name(name) for name in ("tcp_rmem", "tcp_wmem"))
INSIDE = "BENCH_INSIDE"
CC = ("-std=c11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra")
# How each program says its version.
ASKED = {"haproxy": "-v", "nginx": "-v", "ssh": "-V", "stunnel": "-version",
         "iperf3": "--version", "wrk": "-v", "frps": "-v", "rathole": "-V",
         "chisel": "--version", "bore": "-V"}


class Failed(Exception):
    """Something that makes every figure worthless."""


class Absent(Exception):
    """A program is not there: no figures, and not a failure."""


def need(program, package=None):
    """Its path: what the environment names (HAPROXY=, SSH_KEYGEN=), or from
    PATH."""
    variable = program.upper().replace("-", "_")
    named = os.environ.get(variable)
    path = shutil.which(named or program)
    if path is None and named:
        raise Absent(f"{variable}= names no {program} that is there")
    if path is None:
        raise Absent(f"{program} is neither in PATH nor named by {variable}=" +
                     (f" (Debian: {package})" if package else ""))
    return path


def need_all(programs):
    """{program: package}; ends the script where one is missing."""
    missing = []
    for program, package in programs.items():
        try:
            need(program, package)
        except Absent as error:
            missing.append(f"bench: {error}")
    if missing:
        sys.exit("\n".join(missing))


def shout(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


def go_inside():
    """Starts this script again in a namespace of its own, or ends it. There it
    returns what the machine's own congestion control is."""
    if INSIDE in os.environ:
        subprocess.run([need("ip", "iproute2"), "link", "set", "lo", "up"],
                       check=True)
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        return os.environ[INSIDE]
    unshare = need("unshare", "util-linux")
    for how in (["-n"], ["-rn"]):
        tried = subprocess.run([unshare, *how, "true"], check=False,
                               stderr=subprocess.PIPE, text=True)
        if tried.returncode == 0:
            os.environ[INSIDE] = CONTROL.read_text(encoding="utf-8").strip()
            os.execv(unshare, [unshare, *how, sys.executable, *sys.argv])
    sys.exit("bench: no network namespace can be had, as root or where users "
             "may have one, and without it this would change the congestion "
             f"control and the ports of the machine: {tried.stderr.strip()}")


def compile_c(directory, name, *more):
    """The path of what tests/bench/NAME became."""
    source = HERE / name
    out = pathlib.Path(directory) / source.stem
    compiler = (os.environ.get("CC") or "cc").split()
    if shutil.which(compiler[0]) is None:
        raise Absent("neither is cc in PATH, nor does CC= name a compiler that "
                     "is there (Debian: gcc)")
    subprocess.run([*compiler, *CC, "-o", out, source, *more],
                   check=True)
    return out


def set_congestion(name, directory, preload=False):
    """All sockets from now on have it; returns what programs need in their
    environment for that."""
    try:
        if preload:
            raise OSError(0, "as asked")
        CONTROL.write_text(name, encoding="utf-8")
    except OSError as error:
        allowed = ALLOWED.read_text(encoding="utf-8").split()
        if name not in allowed:
            # Neither a namespace nor a program without privilege may have it.
            raise Failed(
                f"this machine has {name} for root alone. To allow it, as "
                f"root: sysctl -w net.ipv4.{ALLOWED.name}="
                f"'{' '.join([*allowed, name])}'") from error
        shout(f"NOT SETTING net.ipv4.tcp_congestion_control to {name} "
              f"({error.strerror}): preloading a library that sets it on each "
              "socket")
        try:
            library = compile_c(directory, "congestion.c", "-shared", "-fPIC",
                                "-ldl")
        except Absent as absent:
            raise Failed(str(absent)) from error
        return {"LD_PRELOAD": str(library), "BENCH_CONGESTION": name}
    if CONTROL.read_text(encoding="utf-8").strip() != name:
        raise Failed(f"the congestion control did not become {name}")
    return {}


def check_congestion(name, port=None):
    """Of every TCP connection that there is; how many there are, or with a port
    how many ends have it."""
    shown = subprocess.run([need("ss", "iproute2"), "-tinH", "state",
                            "established"],
                           stdout=subprocess.PIPE, text=True, check=True).stdout
    count = count_congestion(shown, name)
    return count if port is None else count_ends(shown, port)


def count_congestion(shown, name):
    """ss prints a line for a socket, and one that begins with white space for
    what it is like, its congestion control among the first words."""
    count = 0
    for line in shown.splitlines():
        if not line[:1].isspace():
            continue
        if name not in line.split():
            raise Failed(f"a connection is not under {name}: {line.strip()}")
        count += 1
    if count == 0:
        raise Failed("ss shows no connection at all")
    return count


def count_ends(shown, port):
    return sum(word.endswith(f":{port}") for line in shown.splitlines()
               if not line[:1].isspace() for word in line.split())


def memory_of_machine():
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def machine():
    text = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8")
    cpu = re.search(r"model name\s*:\s*(.*)", text)
    release = platform.freedesktop_os_release()
    return {"cpu": cpu[1] if cpu else platform.machine(),
            "cores": len(os.sched_getaffinity(0)),
            "memory_gib": round(memory_of_machine() / 2**30, 1),
            "kernel": platform.release(),
            "system": release.get("PRETTY_NAME", release.get("NAME", "?")),
            "nofile": resource.getrlimit(resource.RLIMIT_NOFILE)[0]}


def version_of(argv):
    """The first number with a dot in what a program says, or None."""
    try:
        said = subprocess.run(argv, capture_output=True, text=True,
                              check=False, timeout=10)
    except OSError:
        return None
    found = re.search(r"\d+\.\d[\w.+~-]*", said.stdout + said.stderr)
    return found[0].rstrip(".,") if found else "?"


def tunneld_version(build):
    return version_of([f"{build}/tunneld", "-V"])


def versions(build):
    """{program: version} of those that are there."""
    found = {"tunneld": tunneld_version(build)}
    for name, word in ASKED.items():
        try:
            found[name] = version_of([need(name), word])
        except Absent:
            continue
    return found


def bench_commit():
    """Of the tree that this bench lies in, as it is now; None without one.
    What a tunneld was built from, it does not say itself."""
    try:
        git = subprocess.run(
            ["git", "-C", TOP, "describe", "--always", "--dirty"],
            capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return git.stdout.strip() if git.returncode == 0 else None


# --- how it was asked for -----------------------------------------------------

# Options whose values are paths.
PATHS = ("--build", "--results")


def without_paths(argv):
    """What is recorded of a command line: where things are on this machine is
    nobody's business."""
    words, follows = [], None
    for word in argv:
        option, equals, value = word.partition("=")
        if follows is None and option in PATHS:
            if not equals:
                words.append(option)
                follows = option
                continue
            words.append(f"{option}={hidden(option, value)}")
        elif follows:
            words.append(hidden(follows, word))
        else:
            words.append(word)
        follows = None
    return words


def hidden(option, value):
    """Of a build its name."""
    name, equals, _ = value.rpartition("=")
    return f"{name}{equals}DIR" if option == "--build" else "DIR"


def named_builds(builds):
    """[{name, version}]; a build without a name has its number."""
    found = []
    for i, build in enumerate(builds):
        name, _, path = build.rpartition("=")
        found.append({"name": name or str(i),
                      "tunneld": tunneld_version(path)})
    return found
