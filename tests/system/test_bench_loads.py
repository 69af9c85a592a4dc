# SPDX-License-Identifier: ISC
"""tests/bench/loads.py: what it takes for a whole transfer, and for requests
that were counted; what it repeats."""

import json
import os
import time
import types

import pytest

from test_bench import loads, place


def iperf3(sent, came, each=1):
    return json.dumps({"end": {
        "sum_sent": {"bytes": sent},
        "sum_received": {"bytes": came, "bits_per_second": came * 8},
        "streams": [{"receiver": {"bytes": each}}]}})


@pytest.mark.parametrize("answer", [
    iperf3(0, 0), iperf3(1000, 0), iperf3(1000, 1001),
    iperf3(10 * 2**30, 2**30), iperf3(1000, 1000, 0), "", "{}",
    '{"error": "no route"}'])
def test_a_transfer_that_is_broken_gives_no_figure(answer):
    with pytest.raises(place.Failed):
        loads.check_bulk("x", answer)


def test_a_transfer_that_is_whole_gives_one():
    assert loads.check_bulk("x", iperf3(1950 * 10**6, 1900 * 10**6)) == (
        15.2, 1900000000)


def test_what_can_be_under_way_is_bounded(monkeypatch, tmp_path):
    """For each stream; for one alone by what its sockets can hold."""
    buffers = tmp_path / "tcp_rmem"
    monkeypatch.setattr(place, "BUFFERS", [buffers, buffers])
    for size, streams, most in ((4, 1, 64), (4, 8, 512), (32, 1, 212),
                                (32, 8, 512)):
        buffers.write_text(f"4096 131072 {size << 20}\n")
        sent, most = 4 * 2**30, most << 20
        answer = iperf3(sent, sent - most)
        assert loads.check_bulk("x", answer, streams)[1] == sent - most
        with pytest.raises(place.Failed, match="bytes sent"):
            loads.check_bulk("x", iperf3(sent, sent - most - 1), streams)


LOST = json.dumps({"error": "unable to receive control message - reset"})


@pytest.mark.parametrize("answers, times", [
    ([LOST, iperf3(8, 8)], 2), ([LOST, LOST, iperf3(8, 8)], None),
    (['{"error": "unable to connect"}', iperf3(8, 8)], None)])
def test_a_lost_control_connection_is_told_and_tried_once_more(
        monkeypatch, capsys, answers, times):
    asked, again = [], []

    def measure_once(name, subject, seconds, rate):
        asked.append((name, subject, seconds, rate))
        return loads.check_bulk("x", answers[len(asked) - 1])

    monkeypatch.setattr(loads, "measure_once", measure_once)
    if times is None:
        with pytest.raises(loads.Failed):
            loads.measure("bulk1", "x", 1, "2G", again)
    else:
        assert loads.measure("bulk1", "x", 1, "2G", again)[1] == 8
        assert asked == [("bulk1", "x", 1, "2G")] * times
    assert ("AGAIN" in capsys.readouterr().err) == (answers[0] == LOST)
    assert [one["measure"] for one in again] == ["bulk1"] * (
        answers[0] == LOST)


class Chain:
    """A subject with a program that stands for iperf3: a line of its answers
    each time that it is started."""

    name, ports = "x", {"bulk": 1}

    def __init__(self, directory, monkeypatch, *lines):
        program = directory / "iperf3"
        (directory / "lines").write_text("".join(f"{one}\n" for one in lines))
        program.write_text(
            f"#!/bin/sh\ncd {directory}\nread -r line <lines\n"
            "sed -i 1d lines\neval \"$line\"\n")
        program.chmod(0o755)
        monkeypatch.setenv("IPERF3", str(program))
        self.world = types.SimpleNamespace(environment=dict(os.environ))

    @staticmethod
    def cpu():
        return 0.0


WHOLE = "echo '" + iperf3(2**30, 2**30) + "'"
IS_BUSY = """echo '{"error": "the server is busy running a test."}'"""
IS_AWAY = """echo '{"error": "unable to connect: Connection refused"}'"""


def test_a_server_that_is_busy_is_asked_again(tmp_path, monkeypatch):
    chain = Chain(tmp_path, monkeypatch, IS_BUSY, IS_AWAY, "sleep 4; " + WHOLE,
                  IS_BUSY, "exec sleep 60", "exit 1", *[IS_BUSY] * 10)
    monkeypatch.setattr(loads.Transfer, "PAUSE", 0.01)
    monkeypatch.setattr(loads.Transfer, "BEGUN", 3)     # however slow it is here
    assert loads.measure_bulk(chain, 1, "bulk1")["count"] == 2**30
    # Beside, too; and it must outlast what it is beside.
    with pytest.raises(loads.Again, match="ended before"), \
            loads.bulk_beside(chain, -3, None):
        pass
    with pytest.raises(place.Failed, match="iperf3 says"), \
            loads.bulk_beside(chain, 1, None):
        pytest.fail("that was no transfer")
    with pytest.raises(place.Failed, match="busy"), \
            loads.bulk_beside(chain, 1, None):
        pytest.fail("nor was that")


def wait_for_end(path):
    """Of whose number is written there."""
    until = time.monotonic() + 30
    stat = f"/proc/{path.read_text().strip()}/stat"
    while time.monotonic() < until:
        with open(stat, encoding="utf-8") as file:
            if file.read().rsplit(")", 1)[1].split()[0] == "Z":
                return
        time.sleep(0.01)
    pytest.fail("it does not end")


def test_a_transfer_that_ended_before_anybody_looked_counts(tmp_path,
                                                            monkeypatch):
    chain = Chain(tmp_path, monkeypatch, WHOLE, WHOLE)
    monkeypatch.setattr(loads.Transfer, "BEGUN", 30)
    assert loads.measure_bulk(chain, 1, "bulk1")["count"] == 2**30
    with pytest.raises(loads.Again), loads.bulk_beside(chain, 1, None):
        pass


def test_a_transfer_beside_that_lasts_is_measured(tmp_path, monkeypatch):
    go, finish = tmp_path / "go", loads.Transfer.finish
    ends = "echo $$ >pid; until [ -e go ]; do sleep 0.02; done; " + WHOLE
    chain = Chain(tmp_path, monkeypatch, ends, ends)
    monkeypatch.setattr(loads.Transfer, "finish",
                        lambda self: (go.touch(), finish(self))[1])
    with loads.bulk_beside(chain, 60, None) as moved:
        assert not moved
    assert moved["bulk"] == 2**30 * 8 / 1e9
    go.unlink()
    with pytest.raises(loads.Again), loads.bulk_beside(chain, 60, None):
        go.touch()
        wait_for_end(tmp_path / "pid")


@pytest.mark.parametrize("said, answered", [
    ("REPORT 0 1000000 0 1 2 3", 0), ("REPORT 100 1000000 1 1 2 3", 100),
    ("REPORT 100 1000000 0 1 2 3", 99), ("REPORT 100 1000000 0 1 2 3", 999),
    ("wrk: unable to connect", 100)])
def test_requests_that_were_not_counted_give_no_figure(said, answered):
    with pytest.raises(place.Failed):
        loads.check_wrk("x", said, answered)


def test_requests_that_were_counted_give_one():
    found = loads.check_wrk("x", "REPORT 100 2000000 0 1500 2500 3500\n", 120)
    assert found == {"value": 50, "count": 100, "p50": 1.5, "p99": 2.5,
                     "p99.9": 3.5}
