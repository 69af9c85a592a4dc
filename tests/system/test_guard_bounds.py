# SPDX-License-Identifier: ISC
"""That the guard of test_guard.py complains: its arithmetic, without a daemon.
And that docs/data-path.md tells the figures of tests/guard/bounds."""

import os
import re

import pytest

import guard_bounds
from guard_bounds import bound_for, floor_for, judge, least
from harness import ROOT

PAGE = os.path.join(ROOT, "docs", "data-path.md")
TODAY = {"session calls": 30.0, "session calls sendto": 4.0,
         "session calls setsockopt": 2.0, "session allocations": 11.0,
         "session copied": 1000.0, "session kept": 0.1,
         "request calls": 8.0, "up calls": 32.0, "up calls splice": 17.0,
         "up copied": 0.0, "idle wakes": 84.0}


@pytest.fixture
def table():
    section = "mux plain entry"
    return {section: {figure: (value, bound_for(section, figure, value))
                      for figure, value in TODAY.items()}}


def complaints(table, **changed):
    """Of TODAY but for these; _ stands for a blank."""
    measured = dict(TODAY, **{name.replace("_", " "): value
                              for name, value in changed.items()})
    return judge("mux plain entry", {name: value for name, value in
                                     measured.items() if value is not None},
                 table)


# least

def test_a_disturbed_round_does_not_count():
    assert least([{"calls": 8.0}, {"calls": 9.0}, {"calls": 8.0},
                  {"calls": 8.0}]) == {"calls": 8.0}


def test_what_comes_every_second_round_counts():
    assert least([{"calls": 8.0}, {"calls": 10.0}] * 2) == {"calls": 9.0}
    assert least([{}, {"calls brk": 1.0}] * 2) == {"calls brk": 0.5}


def test_what_came_once_does_not_count():
    assert least([{}, {"calls brk": 1.0}, {}, {}]) == {"calls brk": 0.0}


# bound_for, floor_for

@pytest.mark.parametrize("figure, today, bound", [
    ("request calls", 8.0, 8.45),
    ("session allocations", 10.0, 10.75),
    ("session calls", 30.0, 32.0),          # its own
    ("request copied", 800.0, 824.0),
    ("up calls", 20.0, 24.0),
    ("up calls splice", 20.0, 25.0),        # a single call of bulk
    ("up copied", 2.0, 2.26),
    ("idle wakes", 80.0, 90.0)])
def test_a_bound_follows_from_its_figure(figure, today, bound):
    assert bound_for("mux tls exit", figure, today) == pytest.approx(bound)


@pytest.mark.parametrize("figure, today, bound", [
    ("request calls", 8.0, 8.45),
    ("session calls read", 10.0, 11.5),
    ("idle wakes", 80.0, 110.0)])
def test_mode_direct_has_bounds_of_its_own(figure, today, bound):
    assert bound_for("idle direct tls exit", figure, today) == \
        pytest.approx(bound)


def test_a_load_without_margins_is_a_mistake():
    with pytest.raises(KeyError):
        bound_for("mux", "nothing calls", 1.0)


@pytest.mark.parametrize("figure", ["session calls", "request calls",
                                    "session calls sendto", "crowd calls"])
def test_a_whole_call_more_is_too_much(figure):
    few = 4.0
    assert bound_for("mux", figure, few) < few + 1


def test_a_floor_is_below_its_figure():
    assert floor_for(8.0, 8.4) == pytest.approx(7.4)


# judge

def test_what_is_as_written_is_fine(table):
    assert complaints(table) == []


def test_what_is_within_its_margins_is_fine(table):
    assert complaints(table, session_calls=31.9, request_calls=8.4,
                      up_copied=0.05, session_calls_brk=0.2,
                      idle_wakes=80.0) == []


def test_what_grew_is_told_with_its_figure(table):
    assert complaints(table, request_calls=9.0) == [
        "mux plain entry: request calls: 9.00, at most 8.45 (was 8.00)"]


def test_which_call_grew_is_told(table):
    first, second = complaints(table, session_calls=33.0,
                               session_calls_setsockopt=5.0)
    assert first.endswith("; grew: setsockopt 5.00, was 2.00")
    assert "session calls setsockopt: 5.00, at most 2.51" in second


def test_a_call_that_is_new_is_told(table):
    assert complaints(table, session_calls_getsockopt=0.3) == [
        "mux plain entry: session calls getsockopt: 0.30, at most 0.25 "
        "(was 0.00)"]


def test_a_copy_more_is_told(table):
    one, = complaints(table, session_copied=1200.0)
    assert "session copied: 1200.00, at most 1052.00" in one
    one, = complaints(table, up_copied=2.0)
    assert "up copied: 2.00, at most 0.06" in one


def test_a_table_that_is_stale_is_told(table):
    one, = complaints(table, request_calls=7.0)
    assert "request calls: 7.00, cheaper than written (8.00): rewrite" in one
    assert guard_bounds.REWRITE in one


def test_a_call_that_is_gone_makes_the_table_stale(table):
    one, = complaints(table, session_calls_setsockopt=None)
    assert "setsockopt: 0.00, cheaper than written (2.00)" in one
    one, = complaints(table, session_calls_setsockopt=1.0)
    assert "setsockopt: 1.00, cheaper than written (2.00)" in one


def test_what_was_not_measured_is_told(table):
    assert complaints(table, idle_wakes=None) == [
        "mux plain entry: idle wakes: was not measured"]


def test_a_section_that_is_not_there_is_told(table):
    one, = judge("mux plain exit", TODAY, table)
    assert "mux plain exit: not in " in one


# the table

def test_a_table_is_read():
    assert guard_bounds.parse(["# head", "", "[mux plain entry]",
                               "session calls sendto  4.00  4.57"]) == {
        "mux plain entry": {"session calls sendto": (4.0, 4.57)}}


def test_bounds_in_the_table_follow_from_its_figures():
    for section, figures in guard_bounds.read().items():
        for figure, (today, bound) in figures.items():
            assert bound == pytest.approx(bound_for(section, figure, today),
                                          abs=0.02), (section, figure)


# docs/data-path.md

COPIES = {"0": 0.0, "once": 2.0}
# What a table with this in its first line tells, column by column; a row is a
# section but for its end, and a cell is "ENTRY / EXIT", or a word for both.
COLUMNS = {
    "system calls for a session": ("session calls", "crowd calls"),
    "bytes read and written by calls": ("session copied", "request copied"),
    "for each MiB of bulk, up": ("up calls", "up copied"),
    "a minute of doing nothing": ("idle wakes", "idle calls")}


def tables():
    """(columns, head, [row of cells])"""
    with open(PAGE) as file:
        text = file.read()
    for lines in re.findall(r"(?:^\|.*\n)+", text, re.M):
        head, _, *rows = [[cell.strip() for cell in line.strip("|\n").split(
            "|")] for line in lines.splitlines()]
        for words, columns in COLUMNS.items():
            if words in head[0]:
                yield columns, head[0], rows


def section_of(row, head, end, figure):
    """ "mux, TLS" and "entry": "mux tls entry". What is not in the row's name
    is in the head."""
    mode = row.split(",")[0]
    security = "tls" if "TLS" in row + head else "plain"
    idle = "idle " if figure.startswith("idle") else ""
    return "%s%s %s %s" % (idle, mode, security, end)


def is_told(text, value):
    """As it would be rounded to so many digits, or within a hundredth."""
    if text in COPIES:
        return abs(COPIES[text] - value) < 0.05
    digits = len(text.partition(".")[2])
    room = max(0.51 * 10 ** -digits, 0.01 * value)
    return abs(float(text.replace(",", "")) - value) <= room


def told():
    """(section, figure, text) of each cell."""
    for columns, head, rows in tables():
        for name, *cells in rows:
            for figure, cell in zip(columns, cells, strict=True):
                entry, _, exit = cell.partition(" / ")
                for end, text in (("entry", entry), ("exit", exit or entry)):
                    yield section_of(name, head, end, figure), figure, text


def test_the_page_tells_what_the_table_has():
    assert len(list(tables())) == len(COLUMNS), "a table of counts is missing"
    table = guard_bounds.read()
    wrong = ["%s: %s: %s, but %.2f in the table" % (
        section, figure, text, table[section][figure][0])
             for section, figure, text in told()
             if not is_told(text, table[section][figure][0])]
    assert not wrong, "docs/data-path.md:\n" + "\n".join(wrong)


def test_a_wrong_figure_of_the_page_would_be_seen():
    assert is_told("30", 29.93) and not is_told("31", 29.93)
    assert is_told("10.6", 10.62) and not is_told("10.9", 10.62)
    assert is_told("once", 2.0) and not is_told("0", 2.0)
