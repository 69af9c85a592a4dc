# SPDX-License-Identifier: ISC
"""tests/bench/scale*.py: tables and goals of what many sessions and links cost,
and a small run of each script, so that they cannot rot."""

import json
import os
import subprocess
import sys
import types

import pytest

from harness import BUILD
from test_bench import BENCH, figures, show, skip_without_tools

sys.path.insert(0, BENCH)
import scale            # noqa: E402  (not before that)
import scale_links      # noqa: E402


def test_what_many_sessions_cost_becomes_tables_and_goals():
    daemon = {"uss": 3.0, "descriptors": 1.0, "cpu_ms_per_s": 1.25,
              "cpu_ms_per_s_without": 1.0}
    level = {"keepalive": [9, 10, 11], "new": [50, 50, 50], "spread": [1, 2, 3]}
    back = {"links": 1.0, "cpu_links": 0.5, "all": 2.0, "cpu_all": 0.7,
            "ListenOverflows": 0, "ListenDrops": 0,
            "steps": [[0.5, 600, 601], [0.9, 991, 1000], [1.0, 1000, 1040]]}
    links = {"links": 1000, "others": 0, "lanes": 0, "pool": 0,
             "memory": {"hub": daemon}, "cpu_s_per_minute": {"hub": 0.1}}
    found = scale.tell({
        "memory": {"mux-plain": {"sessions": 9000, "daemons": {
            "edge": daemon, "home": {**daemon, "uss": 4.5}}}},
        "relays": {"haproxy": {"sessions": 9000, "uss": 3.3,
                               "descriptors": 2.0, "us_alone": 9.0,
                               "us_beside": 10.0}},
        "cost": {"mux-plain": {"10": level, "9000": {
            **level, "new": [60, 60, 1000]}},
                 "direct-plain": {"10": level, "4500": level}},
        "links": {"bare-tls": {
            **links, "returns": [back, {**back, "links": 6.0}]},
                  "mux-tls": {
            **links, "lanes": 2, "others": 2000,
            "returns": [back, {
                **back, "steps": [[0.9, 990, 1290], [1.0, 1000, 2500]],
                "ListenOverflows": 2, "ListenDrops": 3}]}}}, None, "cubic")
    assert len(found["tables"]) == 6 and not found["failed"]
    for _, heads, rows in found["tables"]:
        assert rows and all(len(row) == len(heads) + 1 for row in rows)
    missed = [one["measure"] for one in figures.judge_scale(found["goals"])
              if not one["met"]]
    assert missed == ["KiB of an idle session, mux-plain home",
                      "most / least of these, mux-plain new",
                      "seconds to 1,000 links, bare-tls",
                      "overflows of the accept queue, mux-tls",
                      "other drops of connections, mux-tls",
                      "lanes, channels there by 99 % of links, mux-tls"]
    text = show.show_scale(found)
    assert max(map(len, text)) <= 80
    assert text[:2] == ["", "Many sessions and links; cubic"]
    # Levels are those of the kind; an overflow is not told twice.
    heads = [line.split() for line in text if line.endswith(" x")]
    assert ["10", "9,000", "x"] in heads and ["10", "4,500", "x"] in heads
    rows = [line.split() for line in text if line.startswith("mux-tls ")]
    assert rows[-1] == ["mux-tls", "1.00", "1.00", "0.500", "15%", "75%",
                        "2.00", "0.700", "2+1"]


def test_heartbeats_that_were_not_taken_are_not_0():
    one = {"links": 1000, "lanes": 0, "pool": 0, "returns": [],
           "memory": {"hub": {"uss": 3.0, "descriptors": 1.0}},
           "cpu_s_per_minute": {"hub": None}}
    text = show.show_scale(scale.tell({"links": {"bare-tls": one}}))
    assert any(line.endswith("(NOT TAKEN)") for line in text)
    assert any(line.startswith("bare-tls hub") and line.endswith(" -")
               for line in text)


@pytest.mark.parametrize("seconds, fine", [
    ("0", True), ("20", True), ("3", False), ("15", False)])
def test_heartbeats_are_taken_over_whole_intervals(monkeypatch, capsys,
                                                   seconds, fine):
    monkeypatch.setattr(sys, "argv", ["scale_links.py", "--seconds", seconds])
    if fine:
        assert scale_links.options().seconds == int(seconds)
        return
    with pytest.raises(SystemExit):
        scale_links.options()
    assert "multiple" in capsys.readouterr().err


def test_a_part_that_fails_is_told_and_the_others_stand(monkeypatch, tmp_path):
    monkeypatch.setattr(scale, "PARTS", {"links": ("no-such-script.py",)})
    found = scale.run(str(tmp_path), "cubic", types.SimpleNamespace(
        quick=True, preload=False), lambda text: None)
    assert "no-such-script" in found["failed"]["links"]
    assert found["tables"] == [] and found["goals"] == []
    text = "\n".join(show.show_scale(found))
    assert "FAILED, no figures: links" in text




def test_goals_are_for_two_cores():
    goals = figures.judge_scale([["KiB", 3.5, "<=", 4]])
    assert "CORES" not in "".join(show.show_goals(goals, 2))
    assert any("this machine has 64" in line
               for line in show.show_goals(goals, 64))


def test_without_a_namespace_nothing_is_run(tmp_path):
    """It would set the congestion control of the machine."""
    done = subprocess.run(
        ["/usr/bin/python3", os.path.join(BENCH, "scale_links.py")],
        env={**os.environ, "UNSHARE": "/bin/false"}, capture_output=True,
        text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert "no network namespace can be had" in done.stderr


def run_script(directory, script, *words, **environment):
    """What a small run of it writes."""
    skip_without_tools()
    done = subprocess.run(
        ["/usr/bin/python3", "-B", os.path.join(BENCH, script), *words,
         "--congestion", "reno", "--build", BUILD,
         "--json", directory / "json"],
        env={**os.environ, **environment}, capture_output=True,
        text=True, check=False, timeout=110)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads((directory / "json").read_text()), done.stdout


def test_a_small_real_run_of_idle_sessions(tmp_path):
    found, said = run_script(
        tmp_path, "scale_sessions.py", "memory", "--kinds", "mux-plain",
        "--sessions", "50", "--seconds", "1", "--settle", "1")
    assert found["machine"]["congestion"] == "reno"
    assert not found["machine"]["preloaded"]
    one = found["memory"]["mux-plain"]
    assert one["sessions"] == 50 and set(one["daemons"]) == {"edge", "home"}
    for daemon in one["daemons"].values():
        assert 0.9 <= daemon["descriptors"] <= 1.1
    assert "mux-plain edge" in said and scale.tell_memory(found["memory"], [])


def test_a_small_real_run_of_requests_beside_sessions(tmp_path):
    found, said = run_script(
        tmp_path, "scale_sessions.py", "cost", "--kinds", "mux-plain",
        "--levels", "10,50", "--rounds", "1", "--seconds", "1")
    levels = found["cost"]["mux-plain"]
    assert set(levels) == {"10", "50"}
    for level in levels.values():
        assert set(level) == {"keepalive", "new", "spread"}
        assert all(len(one) == 1 and one[0] > 0 for one in level.values())
    assert "mux-plain spread" in said and scale.tell_cost(found["cost"], [])


def test_a_small_real_run_of_links(tmp_path):
    # AddressSanitizer would rather be the first library.
    asan = os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"
    found, said = run_script(
        tmp_path, "scale_links.py", "--links", "20", "--kinds", "mux-tls",
        "--returns", "1", "--down", "1", "--seconds", "0", "--preload",
        ASAN_OPTIONS=asan)
    assert found["machine"]["congestion"] == "reno"
    assert found["machine"]["preloaded"]
    one = found["links"]["mux-tls"]
    assert one["links"] == 20 and one["others"] == 40
    assert len(one["returns"]) == 1 and one["returns"][0]["links"] > 0
    assert one["cpu_s_per_minute"] == {"hub": None, "spokes": None}
    assert "not taken" in said and scale.tell_links(found["links"], [])
