# SPDX-License-Identifier: ISC
"""Tunnels that Debian does not have: taken from PATH, or from where the
environment names them (FRPS=, FRPC=, RATHOLE=, CHISEL=, BORE=). Each with its
default settings; frp also with its fastest. The default of the others is their
fastest: rathole's is plain TCP without delay, bore has no settings, and of
chisel neither the cipher nor the WebSocket can be switched off."""

import secrets

from place import need
from relays import Subject, wait_for_port


def frp_files(world, subject, fast):
    port = world.take_port()
    both = "transport.tcpMux = false\n" if fast else ""
    server = (f'bindAddr = "127.0.0.1"\nbindPort = {port}\n{both}' +
              ("transport.maxPoolCount = 100\n" if fast else ""))
    client = (f'serverAddr = "127.0.0.1"\nserverPort = {port}\n{both}' +
              ("transport.poolCount = 100\ntransport.tls.enable = false\n"
               if fast else ""))
    proxies = "".join(
        f'[[proxies]]\nname = "{one}"\ntype = "tcp"\n'
        f'localIP = "127.0.0.1"\nlocalPort = {world.services[one]}\n'
        f"remotePort = {subject.ports[one]}\n" for one in subject.ports)
    return (port, world.write(f"{subject.name}-s.toml", server),
            world.write(f"{subject.name}-c.toml", client + proxies))


def start_frp(world, name):
    frps, frpc = need("frps"), need("frpc")
    subject = Subject(world, name)
    port, server, client = frp_files(world, subject, name.endswith("-fast"))
    subject.start(frps, "-c", server)
    wait_for_port(port)
    subject.start(frpc, "-c", client)
    return subject


def start_rathole(world, name):
    program = need("rathole")
    subject = Subject(world, name)
    port, token = world.take_port(), secrets.token_hex(16)
    server = f'[server]\nbind_addr = "127.0.0.1:{port}"\n' \
        f'default_token = "{token}"\n'
    client = f'[client]\nremote_addr = "127.0.0.1:{port}"\n' \
        f'default_token = "{token}"\n'
    for one in subject.ports:
        server += f"[server.services.{one}]\n" \
            f'bind_addr = "127.0.0.1:{subject.ports[one]}"\n'
        client += f"[client.services.{one}]\n" \
            f'local_addr = "127.0.0.1:{world.services[one]}"\n'
    subject.start(program, "--server", world.write("rathole-s.toml", server))
    wait_for_port(port)
    subject.start(program, "--client", world.write("rathole-c.toml", client))
    return subject


def start_chisel(world, name):
    program = need("chisel")
    subject = Subject(world, name)
    port = world.take_port()
    subject.start(program, "server", "--host", "127.0.0.1", "--port", port,
                  "--reverse")
    wait_for_port(port)
    subject.start(program, "client", f"http://127.0.0.1:{port}", *(
        f"R:127.0.0.1:{subject.ports[one]}:127.0.0.1:{world.services[one]}"
        for one in subject.ports))
    return subject


def start_bore(world, name):
    """Its control port is always the same, and each tunnel a process."""
    program = need("bore")
    subject = Subject(world, name)
    subject.start(program, "server", "--min-port", 1024)
    wait_for_port(7835)
    for one in subject.ports:
        subject.start(program, "local", world.services[one], "--local-host",
                      "127.0.0.1", "--to", "127.0.0.1", "--port",
                      subject.ports[one])
    return subject


GUESTS = {"frp": start_frp, "frp-fast": start_frp, "rathole": start_rathole,
          "chisel": start_chisel, "bore": start_bore}
