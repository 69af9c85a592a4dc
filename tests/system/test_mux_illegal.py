# SPDX-License-Identifier: ISC
"""A peer who has the secret, and does not keep to the protocol of lanes: the
lane ends, with the reason, and nothing else does."""

import contextlib
import struct

import pytest

import forge
from handmade import (DATA, FIN, LANES, OPENER_LANE, RESET, WINDOW, Dialler,
                      Gateway, Lane, data_frame, open_frame)
from harness import new_secret, wait_until
from services import connect, expect_reset, read_exactly

FRAME = 16384           # of DATA


def fin(channel, last=0):
    return forge.frame(FIN, bytes([last]), channel=channel)


def reset(channel):
    return forge.frame(RESET, channel=channel)


def window(channel, credit):
    return forge.frame(WINDOW, struct.pack(">I", credit), channel=channel)


def answer(kind, channel):
    fields = [b"\x01", b"no"] if kind == forge.FAILED else []
    return forge.frame(kind, *fields, channel=channel)


def accepting(daemon, peer, tunnels, closing):
    """A daemon, and a peer that dialled it and has two lanes."""
    d = daemon("edge", gateway=["127.0.0.1:0"], peers=[
        dict(peer, name="home")], tunnels=tunnels).start()
    hand = closing(Dialler(d.gateway(), peer["secret"], peer["security"]))
    return d, hand, [closing(hand.lane()) for _ in range(2)]


def dialling(daemon, peer, tunnels, closing):
    """A daemon that dialled a peer: the numbers are the other way round."""
    lanes = []

    def attached(sock, opener):
        if opener == OPENER_LANE:
            lanes.append(Lane(sock, dialler=False))
    hand = closing(Gateway(peer["secret"], peer["security"], attached))
    d = daemon("home", peers=[dict(peer, name="edge", connect=hand.address,
                                   pool=0)], tunnels=tunnels).start()
    wait_until(lambda: len(lanes) == 2, 10, "two lanes to come")
    return d, hand, lanes


SIDES = {"accepts": accepting, "dials": dialling}


@pytest.fixture
def end_that(daemon, security, echo, listener, closing):
    """end_that("accepts" or "dials"): a daemon and a peer by hand."""
    def make(side):
        name = {"accepts": "home", "dials": "edge"}[side]
        d, d.peer_by_hand, d.lanes_by_hand = SIDES[side](daemon, {
            "secret": new_secret(), "security": security, "mode": "mux"}, [
            dict(name="web", peer=name, listen="127.0.0.1:0"),
            dict(name="out", peer=name, connect=echo.address),
            dict(name="slow", peer=name, connect=listener.address)], closing)
        wait_until(lambda: len(d.peer()["lanes"]) == 2, 10, "two lanes")
        return d
    return make


@pytest.fixture
def edge(end_that):
    return end_that("accepts")


def begin(lane, channel, tunnel="out"):
    lane.send(open_frame(tunnel, channel))
    lane.expect(forge.OPENED, channel)


def fresh(by_hand, by_daemon):
    """Before anything was opened; each end's first number."""
    return {
        "OPEN with a number of ours": open_frame("out", by_daemon),
        "OPEN with a number that is not the next":
            open_frame("out", by_hand + 4),
        "OPEN of a channel that is not closed":
            open_frame("slow", by_hand) + open_frame("slow", by_hand),
        "OPENED of a channel that is not open":
            answer(forge.OPENED, by_daemon),
        "FAILED of a channel that is not open":
            answer(forge.FAILED, by_daemon),
        "DATA of a channel that is not open": data_frame(by_hand, b"x"),
        "FIN of a channel that is not open": fin(by_hand),
        "RESET of a channel that is not open": reset(by_hand),
        "WINDOW of a channel that is not open": window(by_daemon, 1),
        "WINDOW before OPENED":
            open_frame("slow", by_hand) + window(by_hand, 1),
        "channel 0": reset(0),
        "bytes that are no frame": struct.pack(">BBHI", FIN, 0, 1025, 1),
        "a frame of resumption, which was not agreed":
            struct.pack(">BBHI", 0x24, 0, 0, 0),
        "a frame that does not belong on a lane":
            forge.frame(LANES, b"\x02"),
    }


def opened(channel):
    """Once it is open, by the peer."""
    return {
        "OPENED by who opened": answer(forge.OPENED, channel),
        "FAILED by who opened": answer(forge.FAILED, channel),
        "DATA without a byte": data_frame(channel, b""),
        "DATA after FIN": fin(channel) + data_frame(channel, b"x"),
        "FIN twice": fin(channel) + fin(channel),
        "the last FIN before ours": fin(channel, 1),
        "DATA after the last frame":
            reset(channel) + data_frame(channel, b"x"),
        "RESET after the last frame": reset(channel) + reset(channel),
        "WINDOW of nothing": window(channel, 0),
        "WINDOW beyond all bounds": window(channel, 0xffffffff),
    }


# After OPENED of a channel that the daemon opened.
ANSWERED = {
    "DATA before OPENED": None,
    "OPENED twice": forge.OPENED,
    "FAILED after OPENED": forge.FAILED,
}


def ends_alone(d, lane, other, why):
    """That lane ends, the other one carries a session as before."""
    name = d.peer()["name"]
    wait_until(lambda: "%s: lane lost: %s\n" % (name, why) in d.log(), 5,
               "the reason")
    with contextlib.suppress(ConnectionError):
        while lane.read():
            pass
    other.send(data_frame(other.first, b"still here"))
    assert other.expect(DATA, other.first) == b"still here"
    assert d.is_up(name) and not d.peer()["last_error"]
    # Who dials has another one soon.
    wait_until(lambda: len(d.peer()["lanes"]) == len(d.lanes_by_hand) - 1, 5,
               "that lane to be gone")
    assert not d.peer_by_hand.link.ended
    other.send(fin(other.first))
    other.expect(FIN, other.first)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("why", list(fresh(1, 2)) + list(opened(1)))
def test_it_ends_the_lane(end_that, side, why):
    d = end_that(side)
    lane, other = d.lanes_by_hand
    channel = lane.first
    begin(other, channel)
    if why in opened(channel):
        begin(lane, channel, "slow")
        lane.send(opened(channel)[why])
    else:
        lane.send(fresh(channel, lane.theirs)[why])
    ends_alone(d, lane, other, why)
    if why in opened(channel) and "after the last" not in why:
        assert d.closed(1, tunnel="slow")[0]["close_reason"] == "link_lost"


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("why", ANSWERED)
def test_it_ends_the_lane_of_a_session_of_ours(end_that, side, why):
    d = end_that(side)
    lane, other = d.lanes_by_hand
    channel = lane.theirs
    begin(other, other.first)
    with connect(d.tunnel("web")["listen"]) as user:
        assert lane.expect(forge.OPEN, channel)
        if ANSWERED[why]:
            lane.send(answer(forge.OPENED, channel),
                      data_frame(channel, b"x"))
            assert read_exactly(user, 1) == b"x"
            lane.send(answer(ANSWERED[why], channel))
            expect_reset(user)
        else:
            lane.send(data_frame(channel, b"x"))
            # It was not answered: it is opened once more, elsewhere.
            assert other.expect(forge.OPEN, channel)
            other.send(answer(forge.OPENED, channel),
                       data_frame(channel, b"y"))
            assert read_exactly(user, 1) == b"y"
        ends_alone(d, lane, other, why)
        if ANSWERED[why]:
            assert d.closed(1)[0]["close_reason"] == "link_lost"


@pytest.mark.parametrize("side", SIDES)
def test_more_than_its_credit(end_that, side, listener):
    """The service reads nothing. All of the window is taken, and more is an
    error; a little that was granted just then is not."""
    d = end_that(side)
    lane, other = d.lanes_by_hand
    channel = lane.first
    begin(other, channel)
    begin(lane, channel, "slow")
    service = listener.accept()
    # What the kernel takes for the service is passed on, and granted anew.
    sent, credit = 0, 262144
    while sent < credit:
        size = min(FRAME, credit - sent)
        lane.send(data_frame(channel, bytes(size)))
        sent += size
        if sent < credit:
            continue
        lane.sock.sendall(forge.frame(forge.PING, bytes(8)))
        credit += grants(lane, channel)
    assert len(d.peer()["lanes"]) == 2 and len(d.sessions()) == 2
    with contextlib.suppress(ConnectionError):
        for _ in range(4096):
            lane.send(data_frame(channel, bytes(FRAME)))
        raise AssertionError("64 MiB beyond it were taken")
    ends_alone(d, lane, other, "DATA beyond the credit")
    service.close()


def grants(lane, channel):
    """The credit that was granted before the answer to a PING."""
    credit = 0
    while True:
        kind, _, length, number = struct.unpack(">BBHI", lane.exactly(8))
        payload = lane.exactly(length) if length else b""
        if kind == WINDOW and number == channel:
            credit += int.from_bytes(payload[3:], "big")
        elif kind == forge.PONG:
            return credit
        else:
            assert kind == forge.PING, kind


def test_numbers_come_again_only_when_closed(edge):
    """Ours and theirs: strictly after both lasts."""
    lane, _ = edge.lanes_by_hand
    begin(lane, 1)
    lane.send(data_frame(1, b"one"), fin(1))
    assert lane.expect(DATA, 1) == b"one"
    # The echo ends, too: its FIN says that it is the last, ours follows.
    assert lane.expect(FIN, 1)[3:] == b"\x01"
    lane.send(fin(1, 1), open_frame("out", 1), data_frame(1, b"two"))
    lane.expect(forge.OPENED, 1)
    assert lane.expect(DATA, 1) == b"two"
    lane.send(reset(1))
    lane.expect(RESET, 1)
    lane.send(open_frame("out", 1), data_frame(1, b"three"), fin(1))
    lane.expect(forge.OPENED, 1)
    assert lane.expect(DATA, 1) == b"three"
    assert edge.is_up("home") and len(edge.peer()["lanes"]) == 2


# --- what is legal, and rare ---------------------------------------------------

def test_a_uid_is_opened_once(edge):
    """On another lane, too; whoever repeats it is told."""
    lane, other = edge.lanes_by_hand
    uid = bytes(range(16))
    lane.send(open_frame("out", 1, uid=uid))
    lane.expect(forge.OPENED, 1)
    other.send(open_frame("out", 1, uid=uid))
    refusal = other.expect(forge.FAILED, 1)
    assert refusal[:4] == b"\x01\x00\x01\x07"
    other.send(reset(1))
    begin(other, 1)
    lane.send(data_frame(1, b"hello"))
    assert lane.expect(DATA, 1) == b"hello"


def test_a_refusal_and_its_number(edge):
    """FAILED is answered, and only then is its number used again."""
    lane, _ = edge.lanes_by_hand
    for _ in range(3):
        lane.send(open_frame("nosuch", 1) + data_frame(1, bytes(60000)))
        assert lane.expect(forge.FAILED, 1)[:4] == b"\x01\x00\x01\x05"
        lane.send(fin(1) + reset(1))
    begin(lane, 1)
    assert edge.is_up("home") and len(edge.peer()["lanes"]) == 2


def test_a_kill_says_so(edge):
    """RESET tells, whichever of it and of CLOSE is first."""
    lane, _ = edge.lanes_by_hand
    begin(lane, 1)
    row, = edge.wait_sessions(1)
    edge.ctl("kill", row["id"])
    assert lane.expect(RESET, 1) == b"\x01\x00\x01\x01"
    lane.send(reset(1))
    assert edge.closed_one(row["uid"])["close_reason"] == "killed"
    begin(lane, 1)
    row, = edge.wait_sessions(1)
    lane.send(forge.frame(RESET, b"\x01", channel=1))
    lane.expect(RESET, 1)
    assert edge.closed_one(row["uid"])["close_reason"] == "killed_by_peer"
    begin(lane, 1)
    row, = edge.wait_sessions(1)
    lane.send(reset(1))
    lane.expect(RESET, 1)
    assert edge.closed_one(row["uid"])["close_reason"] == "reset"


def test_early_bytes_and_their_end(edge):
    """As much as may follow OPEN, and FIN, before anybody answered."""
    lane, _ = edge.lanes_by_hand
    data = bytes(range(256)) * 256
    lane.send(open_frame("out", 1), data_frame(1, data[:40000]),
              data_frame(1, data[40000:]), fin(1))
    lane.expect(forge.OPENED, 1)
    got = b""
    while len(got) < len(data):
        got += lane.expect(DATA, 1)
    assert got == data
    assert lane.expect(FIN, 1)[3:] == b"\x01"
    lane.send(fin(1, 1))
    edge.wait_sessions(0)
    row, = edge.closed(1)
    assert (row["up_bytes"], row["down_bytes"], row["close_reason"]) == \
        (65536, 65536, "closed")


def test_lanes_are_bounded(edge, closing):
    """By what nobody needs, however many are attached."""
    peer = edge.peer_by_hand
    count = 2
    with pytest.raises((AssertionError, OSError)):
        while count < 100:
            closing(peer.lane())
            count += 1
    assert 16 <= count <= 32
    wait_until(lambda: "too many lanes" in edge.log(), 5, "why")
    for lane in edge.lanes_by_hand:
        begin(lane, 1)
    assert edge.is_up("home")


def test_a_lane_that_ends(edge):
    """In order, with sessions on it: they are lost, the other's are not."""
    lane, other = edge.lanes_by_hand
    begin(lane, 1)
    begin(other, 1)
    lost = {row["uid"] for row in edge.wait_sessions(2)}
    lane.close()
    row, = edge.closed(1)
    assert row["close_reason"] == "link_lost" and row["uid"] in lost
    other.send(data_frame(1, b"still here"))
    assert other.expect(DATA, 1) == b"still here"
