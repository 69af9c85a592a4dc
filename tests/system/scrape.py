# SPDX-License-Identifier: ISC
"""A client of the metrics, as Prometheus is one."""

import re
import shutil
import subprocess

import pytest

import services
from harness import FACTOR, keep_secret
from services import connect

ASK = b"GET /metrics HTTP/1.1\r\n\r\n"
SAMPLE = re.compile(r"([a-z_]+)(?:\{(.*)\})? (\S+)")
LABEL = re.compile(r'([a-z]+)="((?:[^"\\]|\\.)*)"(?:,|$)')


def with_metrics(d, listen="127.0.0.1:0"):
    d.config["metrics"] = {"listen": listen}
    return d


def where(d):
    """The address that a daemon serves its metrics on."""
    found = re.findall(r"metrics: http://(\S+)/metrics$", d.log(), re.M)
    assert found, "%s does not say where its metrics are" % d.name
    return found[-1]


class Answer:
    def __init__(self, raw):
        head, _, self.body = raw.partition(b"\r\n\r\n")
        line, *fields = head.decode("latin-1").split("\r\n")
        self.version, status, *_ = line.split(" ")
        self.status = int(status)
        self.fields = {}
        for field in fields:
            name, _, value = field.partition(":")
            assert name.lower() not in self.fields, "%s twice" % name
            self.fields[name.lower()] = value.strip()


def answer(sock):
    """What the server says until it closes."""
    return Answer(services.read_all(sock))


def http(d, path="/metrics", method="GET", fields="", version="1.1",
         timeout=15):
    with connect(where(d), timeout=timeout * FACTOR) as sock:
        sock.sendall(("%s %s HTTP/%s\r\nHost: x\r\n%s\r\n" %
                      (method, path, version, fields)).encode())
        return answer(sock)


def parse(text):
    """{(name, frozenset of labels): value}; checks the form, too."""
    samples, types, family = {}, {}, None
    for line in text.splitlines():
        if line.startswith("# HELP "):
            family = line.split(" ")[2]
            assert family not in types, "two families %s" % family
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name == family
            types[name] = kind
            assert (kind == "counter") == name.endswith("_total"), line
        else:
            name, labels, value = SAMPLE.fullmatch(line).groups()
            assert name == family and name in types, line
            pairs = LABEL.findall(labels or "")
            assert LABEL.sub("", labels or "") == "", line
            key = name, frozenset(pairs)
            assert key not in samples, "twice: %s" % line
            samples[key] = float(value)
    return samples


class Scrape:
    def __init__(self, d):
        got = http(d)
        assert got.status == 200
        self.text = got.body.decode()
        self.samples = parse(self.text)

    def __call__(self, name, **labels):
        return self.samples[name, frozenset(labels.items())]

    def labels(self, name, key, **wanted):
        return {dict(pairs)[key] for found, pairs in self.samples
                if found == name and wanted.items() <= dict(pairs).items()}


def metrics_pair(pair_of, tunnels, security="plain", **kw):
    p = pair_of(security, tunnels, **kw)
    for d in p.both():
        with_metrics(d)
    return p.start()


def alone(daemon, service="127.0.0.1:1", **kw):
    return with_metrics(daemon("alone", tunnels=[
        dict(name="web", listen="127.0.0.1:0", connect=service)],
        **kw)).start()


def thousand_peers(daemon):
    """A daemon that has much to say."""
    d = daemon("many", gateway=["127.0.0.1:0"])
    path = d.write_secret("all", keep_secret("A" * 43 + "="))
    d.config["peers"] = [dict(name="p%d" % i, secret_file=path)
                         for i in range(1000)]
    d.config["tunnels"] = [dict(name=name, peer="p%d" % i,
                                connect="127.0.0.1:1")
                           for i in range(1000) for name in "abcd"]
    return with_metrics(d).start()


def promtool(text):
    if not shutil.which("promtool"):
        pytest.fail("PROMTOOL IS NOT INSTALLED (Debian: prometheus)")
    done = subprocess.run(["promtool", "check", "metrics"], input=text,
                          text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=60)
    assert done.returncode == 0 and done.stdout == "", done.stdout
