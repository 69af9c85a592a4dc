# SPDX-License-Identifier: ISC
"""tests/bench/bench: its arithmetic, what it prints, what it takes for a broken
run; and one run of a moment, so that it cannot rot."""

import json
import os
import shutil
import subprocess
import sys
import time
import types

import pytest

from harness import BUILD, ROOT

BENCH = os.path.join(ROOT, "tests/bench")
sys.path.insert(0, BENCH)
import figures          # noqa: E402  (not before that)
import loads            # noqa: E402
import place            # noqa: E402
import show             # noqa: E402
import subjects         # noqa: E402

TOOLS = ("cc", "ip", "iperf3", "nginx", "setpriv", "ss", "unshare", "wrk")


def rounds(*values, cpu=1.0):
    return [{"value": value, "cpu": cpu} for value in values]


def test_median_and_ratio_are_of_the_rounds():
    results = {"a": rounds(10, 40, 90), "b": rounds(20, 50, 100)}
    assert figures.median(results["a"]) == 40
    # Not the ratio of the medians, which would be 0.8 as well by chance.
    assert figures.ratios(results, "a", "b") == (0.5, 0.8, 0.9)
    results["b"] = rounds(100, 50, 20)
    assert figures.ratios(results, "a", "b") == (0.1, 0.8, 4.5)


def test_a_ratio_of_what_is_not_there_is_none():
    results = {"a": rounds(1, 2), "b": rounds(0, 1)}
    assert figures.ratios(results, "a", "c") is None
    assert figures.ratios(results, "a", "b") is None
    assert figures.ratios(results, "a", "b", "p99") is None
    assert figures.median(results["a"], "p99") is None
    results["b"] = rounds(1)
    with pytest.raises(place.Failed, match="2 rounds"):
        figures.ratios(results, "a", "b")
    results["a"][0]["p99"] = 1
    with pytest.raises(place.Failed, match="p99"):
        figures.median(results["a"], "p99")


def test_the_order_changes_and_nobody_is_left_out():
    names = list("abcdefg")
    seen = [figures.rotated(names, i) for i in range(5)]
    assert all(sorted(order) == names for order in seen)
    assert len({tuple(order) for order in seen}) == 5
    assert len({order[0] for order in seen}) >= 3
    assert figures.rotated([], 3) == []


def test_the_best_mode_stands_for_ours():
    goal = figures.Goal("bulk1", "value", figures.PLAIN, "no-relay", ">=",
                        0.5, "cubic")
    results = {"mux-plain": rounds(5, cpu=9), "direct-plain": rounds(6, cpu=8),
               "no-relay": rounds(10)}
    assert figures.best(results, goal) == "direct-plain"
    # The CPU time is that of the one that moved the most, not the least.
    results["direct-plain"][0]["cpu"] = 99
    assert figures.best(results, goal._replace(key="cpu", sign="<=")) == \
        "direct-plain"
    assert figures.best({}, goal) is None


def test_goals_are_met_or_missed():
    results = {"bulk1": {"mux-plain": rounds(8), "no-relay": rounds(10),
                         "splice-loop": rounds(9)}}
    judged = {one["to"]: one for one in figures.judge(results, "cubic")
              if one["met"] is not None}
    assert set(judged) == {"no-relay", "splice-loop"}
    assert judged["no-relay"]["met"] and judged["no-relay"]["median"] == 0.8
    assert not judged["splice-loop"]["met"]
    assert figures.judge(results, "reno") == []
    assert {one["wanted"] for one in figures.judge(results, "bbr")} == {0.57}


def test_a_goal_without_a_figure_is_neither_met_nor_missed():
    results = {"bulk1": {"mux-plain": rounds(8), "no-relay": rounds(10),
                         "splice-loop": rounds(8)}}
    judged = figures.judge(results, "cubic")
    # Nothing of measures that were not taken.
    assert {one["measure"] for one in judged} == {"bulk1"}
    unmeasured = {(one["of"], one["to"], one["key"]) for one in judged
                  if one["met"] is None}
    assert unmeasured == {
        ("mux-plain", "haproxy-splice", "value"),
        ("mux-plain", "haproxy-splice", "cpu"), ("tls", "ssh", "value"),
        ("tls", "stunnel", "value"), ("mux-plain", "direct-plain", "value"),
        ("mux-tls", "direct-tls", "value")}
    assert figures.count_goals(judged) == (2, 0, 6)
    text = "\n".join(show.show_goals(judged))
    assert text.count("  NOT MEASURED, ") == 6
    assert max(map(len, text.splitlines())) <= 80
    assert text.endswith("2 met, 0 missed, 6 NOT MEASURED")
    # A cost of nothing gives no ratio either.
    results["bulk1"]["haproxy-splice"] = rounds(5, cpu=0)
    judged = figures.judge(results, "cubic")
    assert [one["met"] for one in judged if one["key"] == "cpu"] == [None]


def made_up():
    """A document with every measure and every subject there can be, and figures
    that are wide."""
    one = {"value": 123456.7, "cpu": 1234.5, "cpu_s": 1.0, "count": 1,
           "p50": 1234.5, "p99": 12345.6, "p99.9": 123456.7, "bulk": 123.4}
    names = [*subjects.ALL, "mux-plain@a-build-of-mine"]
    results = {measure: {name: [dict(one) for _ in range(2)]
                         for name in names} for measure in loads.MEASURES}
    scale = {"tables": [["Scale", ["KiB", "fds"], [["tunneld", 1.5, 2]]]],
             "goals": [["KiB of an idle session", 3.5, "<=", 4]]}
    facts = {"kind": "bench", "when": "2026-11-21 12:00 UTC", "rounds": 2,
             "seconds": 1.0, "users": 50, "beside": "2G",
             "machine": {"cpu": "A processor", "cores": 2, "memory_gib": 23.5,
                         "kernel": "6.1", "system": "Debian"},
             "versions": {name: "1.2.3" for name in (
                 "tunneld", *(f"program{i}" for i in range(12)))},
             "absent": {"bore": "bore is neither in PATH nor named " * 3}}
    return figures.document(facts, {"cubic": results, "bbr": results}, scale)


def test_what_is_printed_fits_80_columns_and_is_all_there():
    document = json.loads(json.dumps(made_up()))
    text = show.show(document)
    lines = text.splitlines()
    assert [line for line in lines if len(line) > 80] == []
    for name in subjects.ALL:
        assert subjects.label(name)[:show.FIRST] in text
    assert "ABSENT: bore" in text and "FEWER THAN FIVE" in text
    assert "KiB of an idle session" in text and "Scale" in text
    assert any(" met, " in line and " missed" in line for line in lines)
    assert "The bare splice loop itself reaches, bbr: bulk1 1.00" in text
    assert text.count("MISSED") == figures.count_goals(document["goals"])[1]


REFERENCE = os.path.join(BENCH, "results/reference.json")


def read_reference():
    with open(REFERENCE, encoding="utf-8") as file:
        return json.load(file)


def test_readme_has_the_table_of_the_reference():
    """It is made by: bench --show results/reference.json --markdown"""
    done = subprocess.run(
        ["/usr/bin/python3", os.path.join(BENCH, "bench"), "--show", REFERENCE,
         "--markdown"], capture_output=True, text=True, check=True)
    with open(os.path.join(ROOT, "README.md"), encoding="utf-8") as file:
        readme = file.read()
    assert done.stdout == show.markdown(read_reference())
    assert "\n\n" + done.stdout + "\n" in readme


def test_the_reference_says_nothing_of_where_it_was_taken():
    document = read_reference()
    if "arguments" not in document:
        pytest.skip("the reference is of an older bench")
    shown = json.dumps(document)
    assert "/tmp/" not in shown and "/home/" not in shown


def test_a_table_has_no_cell_of_what_was_not_measured():
    document = made_up()
    for results in (run["summary"] for run in document["runs"].values()):
        for name in ("ssh", "bore"):
            del results["bulk8"][name]
        del results["sessions"]["haproxy"]
        for subjects_ in results.values():
            subjects_.pop("stunnel", None)
    lines = show.markdown(document).splitlines()
    assert {line.count("|") for line in lines} == {7}
    found = {line.split("|")[1].strip(): line for line in lines}
    assert found["no relay at all"].split("|")[2].strip() == ""
    assert found["ssh -R, AES-GCM"].startswith("| ssh -R, AES-GCM |  |  | 12")
    assert found["haproxy pair"].split("|")[4].strip() == ""
    assert "stunnel pair" not in found and "frp" in found


def test_paths_are_not_recorded():
    assert place.without_paths(
        ["--quick", "--build", "old=/a/b", "--build=new=/c", "--build", "/d",
         "--results", "/e", "--results=/f", "--name", "reference"]) == [
        "--quick", "--build", "old=DIR", "--build=new=DIR", "--build", "DIR",
        "--results", "DIR", "--results=DIR", "--name", "reference"]
    assert place.named_builds(["/a/b", "new=/c/d"]) == [
        {"name": "0", "tunneld": None}, {"name": "new", "tunneld": None}]


def test_how_it_was_taken_is_told():
    document = made_up()
    assert "taken by" not in show.show(document)   # files of before
    document.update(arguments=["--name", "reference"], bench_commit="abc123",
                    builds=[{"name": "0", "tunneld": "0.1"},
                            {"name": "new", "tunneld": "0.2"}])
    text = show.show(document)
    assert "\ntaken by: bench --name reference\n" in text
    assert "\nthe bench is that of commit abc123\n" in text
    assert "builds: 0 (tunneld 0.1), new (tunneld 0.2)" in text
    document["builds"] = ["/old/files", "/have/paths"]
    assert "/old" not in show.show(document)


def test_the_shape_of_the_json_is_kept():
    document = made_up()
    assert document["schema"] == 1
    run = document["runs"]["cubic"]
    assert len(run["rounds"]["bulk1"]["mux-plain"]) == 2
    summary = run["summary"]["bulk1"]["mux-plain"]
    assert summary["ratio"] == 1 and summary["cpu"] == 1234.5
    assert {"congestion", "measure", "key", "of", "to", "median", "sign",
            "wanted", "met"} <= set(document["goals"][0])


def test_what_was_repeated_is_told():
    document = made_up()
    assert "REPEATED" not in show.show(document)    # files of before
    document["again"] = [{"congestion": "cubic", "measure": "bulk8",
                          "why": "haproxy: iperf3: lost " * 4}]
    text = show.show(document)
    assert "\nREPEATED: cubic bulk8: haproxy: iperf3: lost " in text
    assert max(map(len, text.splitlines())) <= 80


def test_a_connection_under_another_congestion_control_is_seen():
    shown = "0 0 127.0.0.1:1 127.0.0.1:2\n\t cubic wscale:10,10 rto:204\n"
    assert place.count_congestion(shown * 2, "cubic") == 2
    with pytest.raises(place.Failed, match="not under cubic"):
        place.count_congestion(shown + "0 0 a b\n\t bbr rto:1\n", "cubic")
    with pytest.raises(place.Failed, match="no connection"):
        place.count_congestion("", "cubic")
    assert place.count_ends(shown * 2, 2) == 2
    assert place.count_ends(shown, 3) == 0      # nor is rto:3 one


@pytest.mark.parametrize("shown, message", [
    ("0 0 127.0.0.1:1 127.0.0.1:7\n\t cubic rto:1\n", None),
    ("0 0 127.0.0.1:1 127.0.0.1:7\n\t bbr rto:1\n", "not under cubic"),
    ("0 0 127.0.0.1:1 127.0.0.1:2\n\t cubic rto:1\n", "was seen")])
def test_connections_are_looked_at_under_load(tmp_path, monkeypatch, shown,
                                              message):
    (tmp_path / "shown").write_text(shown)
    program = tmp_path / "ss"
    program.write_text(f"#!/bin/sh\necho >>{tmp_path}/asked\n"
                       f"exec cat {tmp_path}/shown\n")
    program.chmod(0o755)
    monkeypatch.setenv("SS", str(program))
    subject = types.SimpleNamespace(
        name="x", ports={"bulk": 7}, looked=set(),
        world=types.SimpleNamespace(congestion="cubic"))

    def load():
        with loads.looked_at(subject, "bulk"):
            until = time.monotonic() + 20
            while not (tmp_path / "asked").exists() and \
                    time.monotonic() < until:
                time.sleep(0.01)

    if message:
        with pytest.raises(place.Failed, match="x: .*" + message):
            load()
        assert not subject.looked
        return
    load()
    (tmp_path / "shown").write_text("")     # once is enough
    load()
    assert subject.looked == {"bulk"}


def test_what_the_environment_names_must_be_there(monkeypatch):
    monkeypatch.setenv("SSH_KEYGEN", "/bin/true")
    assert place.need("ssh-keygen") == "/bin/true"
    monkeypatch.setenv("SSH_KEYGEN", "/no/such/program")
    with pytest.raises(place.Absent, match="SSH_KEYGEN= names no"):
        place.need("ssh-keygen")
    monkeypatch.delenv("SSH_KEYGEN")
    with pytest.raises(place.Absent, match="Debian: it"):
        place.need("no-such-program", "it")


def test_without_a_compiler_there_is_no_bare_loop(monkeypatch, tmp_path):
    monkeypatch.setenv("CC", "no-such-compiler -O2")
    with pytest.raises(place.Absent, match="compiler that"):
        place.compile_c(tmp_path, "splice_loop.c")
    with pytest.raises(place.Failed, match="compiler that"):
        place.set_congestion("reno", tmp_path, True)


def test_a_congestion_control_that_is_for_root_alone(monkeypatch, tmp_path):
    allowed = tmp_path / "allowed"
    allowed.write_text("reno bbr\n")
    monkeypatch.setattr(place, "ALLOWED", allowed)
    monkeypatch.setattr(place, "CONTROL", tmp_path)     # cannot be written
    with pytest.raises(place.Failed, match="='reno bbr cubic'"):
        place.set_congestion("cubic", tmp_path)


def skip_without_tools():
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        pytest.skip("the bench is NOT tried: not there: " + " ".join(missing))
    if not any(subprocess.run(["unshare", how, "true"], check=False,
                              stderr=subprocess.DEVNULL).returncode == 0
               for how in ("-n", "-rn")):
        pytest.skip("the bench is NOT tried: no network namespace can be had")


def run_bench(directory, *more, **environment):
    skip_without_tools()
    return subprocess.run(
        ["/usr/bin/python3", os.path.join(BENCH, "bench"), "--build", BUILD,
         "--rounds", "1", "--seconds", "1", "--congestion", "reno",
         "--results", directory, "--no-scale", *more],
        env={**os.environ, **environment}, capture_output=True, text=True,
        check=False, timeout=110)


def test_a_run_of_a_moment(tmp_path):
    done = run_bench(tmp_path, "--only", "bulk1,sessions", "--subjects",
                     "no-relay,mux-plain,splice-loop,bore", BORE="")
    assert done.returncode == 0, done.stdout + done.stderr
    document = json.loads((tmp_path / "bench.json").read_text())
    for name in ("bulk1", "sessions"):
        found = document["runs"]["reno"]["rounds"][name]
        assert set(found) == {"no-relay", "mux-plain", "splice-loop"}
        assert all(one[0]["value"] > 0 for one in found.values())
    assert "all of them reno" in done.stderr
    assert BUILD not in json.dumps(document)
    assert "taken by: bench --build DIR --rounds 1" in done.stdout
    assert (tmp_path / "bench.txt").read_text() == done.stdout
    assert (tmp_path / "bench.svg").exists() or "NO PICTURE" in done.stderr
    if shutil.which("bore") is None:
        assert "ABSENT: bore" in done.stderr and "ABSENT" in done.stdout


def test_the_congestion_control_can_be_preloaded(tmp_path):
    # AddressSanitizer would rather be the first library.
    asan = os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"
    done = run_bench(tmp_path, "--only", "bulk1", "--subjects",
                     "no-relay,mux-tls", "--preload", ASAN_OPTIONS=asan)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "preloading a library" in done.stderr
    assert "all of them reno" in done.stderr


def test_a_relay_that_cannot_work_ends_the_run(tmp_path):
    done = run_bench(tmp_path, "--only", "bulk1", "--subjects",
                     "no-relay,haproxy", HAPROXY="/bin/false")
    assert done.returncode == 1
    assert "FAILED, no figures" in done.stderr
    assert not list(tmp_path.iterdir())


def test_the_picture_is_drawn(tmp_path):
    pytest.importorskip("matplotlib", reason="the picture is NOT tried")
    import picture
    document = made_up()
    document["scale"]["relays"] = {"haproxy": {"uss": 3.3}}
    picture.draw(document, tmp_path / "a.svg")
    drawn = (tmp_path / "a.svg").read_text()
    assert "tunneld mux plain" in drawn and picture.MEMORY in drawn
    assert "beside a transfer of 2 Gbit/s" in drawn
