# SPDX-License-Identifier: ISC
"""What a config means, worked out from the table of options and not by the
daemon; and random ones."""

import functools
import grp
import os

from harness import TUNNELD, free_port, run

LISTS = {"peer": "peers", "tunnel": "tunnels"}
# Lists that are empty, and not null, where nothing was set.
EMPTY = {("gateway", "listen"), ("tunnel", "deny")}


@functools.lru_cache(maxsize=None)
def options():
    """((section, key, type, default), ...) of every option there is."""
    lines = run(TUNNELD, "--options").stdout.splitlines()
    return tuple(tuple(line.split("\t")) for line in lines)


def default_of(section, key, kind, default, name):
    if default == "(daemon.name)":
        return name
    if default == "-":
        return [] if (section, key) in EMPTY else None
    if kind == "integer":
        return int(default)
    if kind == "true|false":
        return default == "true"
    return float(default) if kind == "seconds" else default


def group(section, given, name):
    """One group of the file with everything that it leaves out."""
    whole = {}
    for one, key, kind, default in options():
        if one == section:
            value = given.get(key)
            if value is None:
                value = default_of(section, key, kind, default, name)
            elif kind in ("networks", "addresses") and \
                    not isinstance(value, list):
                value = [value]
            whole[key] = value
        elif one.startswith(section + ".") and \
                one.split(".")[1] not in whole:
            inner = one.split(".")[1]
            whole[inner] = group(one, given.get(inner, {}), name)
    if section == "peer" and whole["connect"] is None:
        whole["reconnect"] = dict.fromkeys(whole["reconnect"])
    return whole


def with_modes(config):
    """The tunnels of a file, each with the mode that it has."""
    modes = {peer["name"]: peer.get("mode", "mux")
             for peer in config.get("peers", ())}
    return [dict({"mode": modes.get(tunnel.get("peer"), "direct")}, **tunnel)
            for tunnel in config.get("tunnels", ())]


def effective(config):
    """What `tunnelctl config --json` must say of this file."""
    name = config["daemon"]["name"]
    config = dict(config, tunnels=with_modes(config))
    whole = {section: group(section, config.get(section, {}), name)
             for section in ("daemon", "gateway", "metrics")}
    for section, key in LISTS.items():
        whole[key] = [group(section, one, name)
                      for one in config.get(key, ())]
    return whole


def some_group(but=None):
    """A group that whoever runs this may give a file to."""
    mine = [grp.getgrgid(gid).gr_name
            for gid in {os.getegid(), *os.getgroups()}]
    if os.geteuid() == 0:
        mine += ["daemon", "games", "nogroup"]
    return next((name for name in mine if name != but), None)


# --- at random ------------------------------------------------------------

TIMES = {"idle_timeout": (0.0, 900.0, 1000.5), "hold": (0.0, 5.0, 30.25),
         "connect_timeout": (5.0, 10.0, 11.5),
         "max_sessions": (0, 500, 10000), "max_held": (10, 256),
         "allow": (["127.0.0.0/8"], ["127.0.0.0/8", "10.0.0.0/8"], ["::/0",
                   "0.0.0.0/0"]),
         "deny": (["10.9.0.0/16"], ["192.0.2.1/32", "2001:db8::/32"]),
         "on_change": ("keep", "drain:3600")}
DAEMON = {"retention_days": (30, 90, 0), "max_rows": (0, 100000),
          "log_level": ("error", "warning", "info", "debug"),
          "max_handshakes": (512, 1024),
          "max_handshakes_per_source": (100, 256),
          "drain_timeout": (0.0, 60.0, 0.5)}
PEER = {"pool": (0, 1, 2, 7), "max_channels": (1000, 10000),
        "heartbeat": ({"interval": 5.0, "timeout": 40.0},
                      {"interval": 12.5}, {"timeout": 20.0})}
LINK = {"security": ("tls", "plain"), "as": ("edge", "edge2")}


class Mutator:
    """Changes a daemon's config step by step, all of it but what it was
    told to leave alone. Every config it makes is a good one.

    Tunnels that it makes are called r0, r1, ..., its peers p0, p1, ..."""

    def __init__(self, random, daemon, service, secret, most=12):
        self.random = random
        self.daemon = daemon
        self.config = daemon.config
        self.service = service
        self.secret = secret
        self.most = most
        self.serial = 0
        self.untouched = {t["name"] for t in self.config["tunnels"]}
        self.peers = {p["name"] for p in self.config["peers"]}
        # Few, so that they move from one to another.
        self.places = ["127.0.0.1:%d" % free_port() for _ in range(5)]
        self.places += ["unix:" + daemon.path("u%d" % n) for n in range(3)]
        # These overlap the ones before.
        self.places += ["0.0.0.0:%s" % p.split(":")[1]
                        for p in self.places[:2]]

    def own(self, key):
        kept = self.untouched if key == "tunnels" else self.peers
        return [one for one in self.config[key] if one["name"] not in kept]

    def free_places(self):
        """Those that overlap none that is used."""
        used = {t.get("listen") for t in self.config["tunnels"]} | \
            set(self.config["gateway"]["listen"])
        ports = {u.split(":")[-1] for u in used if u}
        return [p for p in self.places if p.split(":")[-1] not in ports]

    def set_or_drop(self, given, table):
        key = self.random.choice(sorted(table))
        if key in given and self.random.random() < 0.4:
            del given[key]
        else:
            given[key] = self.random.choice(table[key])

    def add_tunnel(self):
        if len(self.own("tunnels")) >= self.most:
            return self.drop_tunnel()
        self.serial += 1
        # Names come back: removed tunnels that still drain are replaced.
        names = {t["name"] for t in self.own("tunnels")}
        name = "r%d" % (self.serial % (self.most + 3))
        if name in names:
            return self.change_tunnel()
        new = {"name": name}
        way = self.random.choice(("in", "out", "local"))
        if way != "local":
            new["peer"] = self.random.choice(
                [p["name"] for p in self.config["peers"]])
        if way != "in":
            new["connect"] = self.service
        if way != "out":
            free = self.free_places()
            new["listen"] = self.random.choice(free) if free else \
                "127.0.0.1:0"
        where = self.random.randrange(len(self.config["tunnels"]) + 1)
        self.config["tunnels"].insert(where, new)

    def drop_tunnel(self):
        if self.own("tunnels"):
            self.config["tunnels"].remove(
                self.random.choice(self.own("tunnels")))
        else:
            self.add_tunnel()

    def change_tunnel(self):
        if self.own("tunnels"):
            self.set_or_drop(self.random.choice(self.own("tunnels")), TIMES)
        else:
            self.add_tunnel()

    def move_tunnel(self):
        """To another place, or two that swap theirs."""
        there = [t for t in self.own("tunnels") if "listen" in t]
        if len(there) > 1 and self.random.random() < 0.5:
            a, b = self.random.sample(there, 2)
            a["listen"], b["listen"] = b["listen"], a["listen"]
        elif there and self.free_places():
            self.random.choice(there)["listen"] = self.random.choice(
                self.free_places())
        else:
            self.add_tunnel()

    def add_peer(self):
        if len(self.own("peers")) >= 4:
            return self.drop_peer()
        self.serial += 1
        name = "p%d" % (self.serial % 6)
        if name in {p["name"] for p in self.own("peers")}:
            return self.change_peer()
        new = {"name": name, "secret_file": self.daemon.write_secret(
            name, self.secret())}
        if self.random.random() < 0.5:
            new["connect"] = "127.0.0.1:1"
            new["reconnect"] = {"min": 0.5, "max": 2.0}
        self.config["peers"].append(new)

    def drop_peer(self):
        """With the tunnels that it was for."""
        if not self.own("peers"):
            return self.add_peer()
        gone = self.random.choice(self.own("peers"))
        self.config["peers"].remove(gone)
        self.config["tunnels"][:] = [t for t in self.config["tunnels"]
                                     if t.get("peer") != gone["name"]]

    def change_peer(self):
        """In place that of the untouched tunnels, too; and links of others."""
        peer = self.random.choice(self.config["peers"])
        if peer["name"] in self.peers or self.random.random() < 0.5:
            self.set_or_drop(peer, PEER)
        elif self.random.random() < 0.5:
            self.set_or_drop(peer, LINK)
        else:
            self.daemon.write_secret(peer["name"], self.secret())

    def change_gateway(self):
        """Its first address stays."""
        listen = self.config["gateway"]["listen"]
        if len(listen) > 1:
            listen.pop()
        elif self.free_places():
            listen.append(self.random.choice(self.free_places()))

    def step(self):
        """From one to four changes at once."""
        moves = (self.add_tunnel, self.add_tunnel, self.drop_tunnel,
                 self.change_tunnel, self.change_tunnel, self.move_tunnel,
                 self.add_peer, self.drop_peer, self.change_peer,
                 self.change_gateway,
                 lambda: self.set_or_drop(self.config["daemon"], DAEMON))
        for _ in range(self.random.randint(1, 4)):
            self.random.choice(moves)()
        if self.random.random() < 0.1:
            self.random.shuffle(self.config["tunnels"])
