# SPDX-License-Identifier: ISC
"""etc/examples: each is tested and then started for real, with the other end
of its pair. Only what this machine has not to spare is put in the place of
paths, addresses and networks."""

import json
import os
import re

import pytest

import harness
from harness import ROOT, TUNNELD, render, reverse, run, wait_until
from scrape import Scrape, metrics_pair
from services import Echo, ask, connect, refused_user

EXAMPLES = os.path.join(ROOT, "etc/examples")
# The one that accepts, the one that dials.
PAIRS = {
    "home-server": ("home-server-edge", "home-server-home"),
    "many-clients": ("many-clients-edge", "many-clients-client"),
    "database": ("database-centre", "database-office"),
}
ALONE = ("local-proxy",)


def read(name):
    with open(os.path.join(EXAMPLES, name + ".conf")) as file:
        return file.read()


def sub(pattern, put, text):
    """All of them, of which there must be some."""
    text, count = re.subn(pattern, put, text)
    assert count, pattern
    return text


class Example:
    """One file. `secrets` is by the names of both ends, so that the other
    one has the same; `port` is the gateway's."""

    def __init__(self, make, name, secrets, port):
        self.text = read(name)
        self.name = re.search(r'daemon = {\s*name = "([^"]+)"',
                              self.text).group(1)
        self.daemon = make(self.name)
        self.place_secrets(secrets)
        self.tested()
        self.place_gateway(port)

    def place_secrets(self, secrets):
        self.peers = re.findall(r'secret_file = "/etc/tunneld/secrets/'
                                r'([^"]+)"', self.text)
        for peer in self.peers:
            pair = frozenset((self.name, peer))
            secrets.setdefault(pair, harness.new_secret())
            self.daemon.write_secret(peer, secrets[pair])
        self.text = self.text.replace("/etc/tunneld/secrets/",
                                      self.daemon.path("secret-"))

    def place_gateway(self, port):
        """Of the file up to its tunnels: who accepts, and who dials."""
        head, tunnels = self.text.split("\ntunnels = (")
        head = re.sub(r'(metrics = {\s*listen = )"[^"]+"',
                      r'\1"127.0.0.1:%d"' % harness.free_port(), head)
        if self.peers:
            head = sub(r'(gateway = {\s*listen =|connect =) "[^"]+"',
                       r'\1 "127.0.0.1:%d"' % port, head)
        self.text = head + "\ntunnels = (" + tunnels

    def place_tunnels(self, service, unix_service):
        """Services on any free port; a UNIX socket stays one."""
        head, tunnels = self.text.split("\ntunnels = (")
        tunnels = re.sub(r'listen = "unix:[^"]+"', 'listen = "unix:%s"' %
                         self.daemon.path("entry.sock"), tunnels)
        tunnels = re.sub(r'listen = "[^"u][^"]*"', 'listen = "127.0.0.1:0"',
                         tunnels)
        tunnels = re.sub(r'connect = "unix:[^"]+"', 'connect = "%s"' %
                         unix_service, tunnels)
        tunnels = re.sub(r'connect = "[^"u][^"]*"', 'connect = "%s"' %
                         service, tunnels)
        self.text = head + "\ntunnels = (" + tunnels

    def tested(self):
        """As it is, but for where its secrets are."""
        with open(self.daemon.config_path, "w") as file:
            file.write(self.text)
        done = run(TUNNELD, "-t", "-c", self.daemon.config_path)
        assert "no errors" in done.stdout and not done.stderr

    def start(self):
        config = self.daemon.config["daemon"]
        own = {k: config[k] for k in ("admin_socket", "database", "log")}
        self.daemon.text = sub(r"daemon = {", "daemon = { " +
                               render(own)[1:-1], self.text)
        return self.daemon.start()


@pytest.fixture
def unix_echo(tmp_path, closing):
    return closing(Echo("unix:%s" % tmp_path.joinpath("echo.sock")))


def test_each_is_here():
    """A file that nobody starts here may be wrong."""
    names = {name[:-len(".conf")] for name in os.listdir(EXAMPLES)
             if name.endswith(".conf")}
    assert names == set(sum(PAIRS.values(), ALONE))


def carry(daemon):
    """A byte through each tunnel that users enter at this daemon, and that
    is up; how many these were."""
    entries = [t for t in daemon.admin("tunnels")
               if t["listen"] and t["state"] == "up"]
    for tunnel in entries:
        with connect(tunnel["listen"]) as user:
            ask(user, b"x")
    return len(entries)


@pytest.mark.parametrize("pair", PAIRS)
def test_pair(daemon, echo, unix_echo, pair):
    secrets, port = {}, harness.free_port()
    ends = [Example(daemon, name, secrets, port) for name in PAIRS[pair]]
    for end in ends:
        end.place_tunnels(echo.address, unix_echo.address)
        end.start()
    for end, other in (ends, ends[::-1]):
        end.daemon.wait_up(other.name)
    ours = ends[1].daemon.admin("tunnels")
    assert sum(carry(end.daemon) for end in ends) == len(ours)
    for end in ends:
        wait_until(lambda: end.daemon.closed(len(ours)), what="the ledger")


def test_alone(daemon, echo, unix_echo):
    proxy = Example(daemon, "local-proxy", {}, None)
    proxy.place_tunnels(echo.address, unix_echo.address)
    proxy.start()
    assert carry(proxy.daemon) == 2
    proxy.daemon.closed(2)


def test_alone_denies(daemon, echo, unix_echo):
    """Its networks do what its comments say."""
    proxy = Example(daemon, "local-proxy", {}, None)
    proxy.place_tunnels(echo.address, unix_echo.address)
    proxy.text = sub(r'deny = [^;]+;', 'deny = "127.0.0.0/9";', proxy.text)
    proxy.start()
    refused_user(proxy.daemon.tunnel("cache")["listen"])
    with connect(proxy.daemon.tunnel("cache")["listen"],
                 source="127.129.0.1") as user:
        ask(user, b"x")


# --- alerts -----------------------------------------------------------------

ALERTS = os.path.join(EXAMPLES, "tunneld.alerts.yml")
SERIES = {
    # An hour of minutes, each value for ever.
    'up{job="tunneld", instance="i"}': "0+0x60",
    'tunneld_peer_up{instance="i", peer="home"}': "0+0x60",
    'tunneld_peer_disabled{instance="i", peer="home"}': "0+0x60",
    'tunneld_peer_up{instance="i", peer="off"}': "0+0x60",
    'tunneld_peer_disabled{instance="i", peer="off"}': "1+0x60",
    'tunneld_peer_up{instance="i", peer="fine"}': "1+0x60",
    'tunneld_peer_disabled{instance="i", peer="fine"}': "0+0x60",
    'tunneld_peer_connects_total{instance="i", peer="home"}': "0+1x60",
    'tunneld_peer_connects_total{instance="i", peer="fine"}': "7+0x60",
    'tunneld_refused_total{instance="i", peer="home", tunnel="web", '
    'reason="refused"}': "0+5x60",
    'tunneld_refused_total{instance="i", peer="fine", tunnel="web", '
    'reason="denied"}': "0+5x60",
    'tunneld_ledger_state{instance="i", state="retrying"}': "1+0x60",
    'tunneld_ledger_state{instance="i", state="ok"}': "0+0x60",
    'tunneld_ledger_lost_rows_total{instance="i"}': "0+0x60",
    'process_open_fds{job="tunneld", instance="i"}': "900+0x60",
    'process_max_fds{job="tunneld", instance="i"}': "1000+0x60",
}
FIRED = {
    "TunneldAway": {"job": "tunneld"},
    "TunneldPeerAway": {"peer": "home"},
    "TunneldPeerFlaps": {"peer": "home"},
    "TunneldRefuses": {"peer": "home", "tunnel": "web"},
    "TunneldLedger": {"state": "retrying"},
    "TunneldDescriptors": {"job": "tunneld"},
}


def test_alerts(tmp_path):
    """Each fires when it should, and for nobody else."""
    harness.need("promtool")
    queries = [{"expr": "count by (alertname) (ALERTS{alertstate='firing'})",
                "eval_time": "1h",
                "exp_samples": [{"labels": "{alertname='%s'}" % name,
                                 "value": 1} for name in sorted(FIRED)]}]
    queries += [{"expr": "ALERTS{alertstate='firing', alertname='%s'}" % name,
                 "eval_time": "1h",
                 "exp_samples": [{"value": 1, "labels": "ALERTS{%s}" % ", ".join(
                     "%s=%s" % (k, json.dumps(v)) for k, v in dict(
                         labels, alertname=name, alertstate="firing",
                         instance="i").items())}]}
                for name, labels in FIRED.items()]
    path = tmp_path / "test.yml"        # JSON is YAML
    path.write_text(json.dumps({
        "rule_files": [ALERTS], "evaluation_interval": "1m", "tests": [{
            "interval": "1m", "promql_expr_test": queries,
            "input_series": [{"series": k, "values": v}
                             for k, v in SERIES.items()]}]}))
    done = run("promtool", "check", "rules", ALERTS)
    assert "%d rules found" % len(FIRED) in done.stdout
    done = run("promtool", "test", "rules", str(path), check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_alerts_are_of_our_metrics(pair_of, echo):
    """Every metric, and every label, that an alert looks at is there."""
    p = metrics_pair(pair_of, [reverse("web", echo.address)])
    with open(ALERTS) as file:
        text = re.sub(r"(?m)^\s*(#|job_name|summary|description).*$", "",
                      file.read())
    there = Scrape(p.edge).samples
    names = set(re.findall(r"\b((?:tunneld|process)_[a-z_]+)", text))
    assert names <= {name for name, _ in there}, names
    for name, labels in re.findall(r"\b(tunneld_[a-z_]+){([^}]*)}", text):
        key = re.match(r"\w+", labels).group(0)
        found = {dict(pairs).get(key) for name_, pairs in there
                 if name_ == name}
        for value in re.search(r'"(.*)"', labels).group(1).split("|"):
            assert value in found, (name, key, value)
