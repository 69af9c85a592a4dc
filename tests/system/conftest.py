# SPDX-License-Identifier: ISC
"""Fixtures of the system tests, and the bounds every one of them has."""

import contextlib
import faulthandler
import os
import resource
import signal
import sys

import pytest

import harness
import services
from daemons import Daemon, Pair
from harness import FACTOR, SECURITIES
from netns import Netns, join_netns

BOUND = 120     # seconds of one test's set-up, call or tear-down


def pytest_configure(config):
    config.addinivalue_line("markers",
                            "bound(seconds): the time this test may take")
    config.addinivalue_line("markers",
                            "both_modes: run in mode mux and in mode direct")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def pytest_sessionstart(session):
    for path in (harness.TUNNELD, harness.TUNNELCTL):
        if not os.access(path, os.X_OK):
            pytest.exit("%s is missing: build first, or set TUNNELD_BUILD" %
                        path, 3)


@contextlib.contextmanager
def alarm(item):
    mark = item.get_closest_marker("bound")
    seconds = int((mark.args[0] if mark else BOUND) * FACTOR)

    def ring(signum, frame):
        faulthandler.dump_traceback(file=sys.__stderr__)
        raise TimeoutError("%s took longer than %d s" % (item.name, seconds))

    old = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, old)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_setup(item):
    with alarm(item):
        yield


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item):
    with alarm(item):
        yield


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_teardown(item):
    with alarm(item):
        yield


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A failed test shows what its daemons said."""
    report = (yield).get_result()
    if report.failed:
        for daemon in getattr(item, "daemons", ()):
            lines = daemon.log().splitlines()
            report.sections.append(("log of " + daemon.name,
                                    "\n".join(lines[-60:])))


@pytest.fixture(params=SECURITIES)
def security(request):
    return request.param


def pytest_generate_tests(metafunc):
    """Tests with the mark `both_modes` are run in both, the others in one:
    see TUNNELD_MODE."""
    if metafunc.definition.get_closest_marker("both_modes"):
        metafunc.parametrize("mode", ["mux", "direct"], indirect=True)


def pytest_collection_modifyitems(items):
    """A local tunnel has no mode."""
    def twice(item):
        params = getattr(item, "callspec", None) and item.callspec.params
        return params and params.get("through") == "local" and \
            params.get("mode") == "direct"
    items[:] = [item for item in items if not twice(item)]


@pytest.fixture(autouse=True)
def mode(request):
    """The mode of peers whose test says nothing else."""
    harness.MODE = getattr(request, "param", None) or \
        os.environ.get("TUNNELD_MODE", "mux")
    return harness.MODE


@pytest.fixture
def closing():
    """closing(thing): closed at the end of the test, last first."""
    with contextlib.ExitStack() as stack:
        def closing(thing):
            stack.callback(thing.close)
            return thing
        yield closing


@pytest.fixture
def echo(closing):
    return closing(services.Echo())


@pytest.fixture
def listener(closing):
    return closing(services.Listener())


@pytest.fixture
def daemon(request, closing):
    """Factory of daemons; at the end each must stop in order."""
    made = request.node.daemons = []

    def make(name, **kw):
        made.append(Daemon(name, **kw))
        return made[-1]

    yield make
    errors = []
    for each in made:
        try:
            each.finish()
        except AssertionError as error:
            errors.append("%s\n--- log of %s:\n%s" % (
                error, each.name,
                "\n".join(each.log().splitlines()[-40:])))
    for each in made:
        each.remove()
    assert not errors, "\n".join(errors)


@pytest.fixture
def pair_of(daemon):
    """pair_of(security, tunnels): an edge and a home that know each other.

    tunnels are (edge's, home's) couples from harness.reverse() and
    forward(). `link` holds options of both peer entries. Not started."""
    def make(security, tunnels=(), *, edge_peer=None, home_peer=None,
             link=None, edge=None, home=None, edge_tunnels=(),
             home_tunnels=(), gateway=("127.0.0.1:0",), **both):
        secret = harness.new_secret()
        common = dict({"security": security, "secret": secret,
                       "mode": harness.MODE,
                       "reconnect": {"min": 0.1, "max": 1.0}}, **(link or {}))
        # The side that is dialled has nothing to reconnect.
        accepts = {k: v for k, v in common.items() if k != "reconnect"}
        at_edge = [dict({"peer": "home"}, **t[0]) for t in tunnels]
        at_home = [dict({"peer": "edge"}, **t[1]) for t in tunnels]
        made = [
            daemon("edge", gateway=gateway,
                   peers=[dict({"name": "home"}, **accepts,
                               **(edge_peer or {}))],
                   tunnels=at_edge + list(edge_tunnels),
                   **dict(both, **(edge or {}))),
            daemon("home",
                   peers=[dict({"name": "edge", "connect": "127.0.0.1:1"},
                               **dict(common, **(home_peer or {})))],
                   tunnels=at_home + list(home_tunnels),
                   **dict(both, **(home or {}))),
        ]
        return Pair(security, secret, *made)
    return make


@pytest.fixture
def pair(pair_of):
    """The same, started and with its link up."""
    def make(*args, **kw):
        return pair_of(*args, **kw).start()
    return make


@pytest.fixture(params=("local",) + SECURITIES)
def through(request, daemon, pair):
    """through(service): the daemons, one with a local tunnel or a pair, and
    the address where the users of that service arrive."""
    def make(service, **kw):
        if request.param == "local":
            alone = daemon("alone", tunnels=[
                dict(name="web", listen="127.0.0.1:0", connect=service)],
                **kw).start()
            return (alone,), alone.tunnel("web")["listen"]
        p = pair(request.param, [harness.reverse("web", service)], **kw)
        return p.both(), p.entry("web")
    return make


@pytest.fixture
def netns(closing):
    """Factory of network namespaces."""
    harness.need_root("network namespaces")
    harness.need("nft", "ip", "nsenter", "unshare")
    return lambda: closing(Netns())


@pytest.fixture
def cable(netns):
    """Two namespaces with a cable, 10.77.0.1 and 10.77.0.2."""
    a, b = netns(), netns()
    join_netns(a, b)
    return a, b


@pytest.fixture
def far_pair(cable, pair_of, closing):
    """An edge and a home with a cable between them."""
    a, b = cable

    def make(security, connect_to=None, **options):
        service = b.call(lambda: closing(services.Echo("127.0.0.1:0")))
        p = pair_of(security,
                    [harness.reverse("web", connect_to or service.address,
                                     **options.pop("tunnel", {}))],
                    gateway=["10.77.0.1:0"], edge={"netns": a},
                    home={"netns": b}, **options)
        return p.start()
    return make
