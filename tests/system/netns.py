# SPDX-License-Identifier: ISC
"""Throwaway network namespaces and file systems."""

import contextlib
import ctypes
import os
import subprocess
import threading

from harness import end_process, run, spawn

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
