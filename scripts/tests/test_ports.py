"""Ports: what is taken is reported in a line."""

import contextlib
import socket
from pathlib import Path

import pytest

from scripts.stack import SetupError, ports


def test_a_port_that_is_listened_on_is_refused_by_its_number():
    with socket.create_server((ports.HOST, 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(SetupError, match=f"port {port} is in use"):
            ports.require_free(port)
    ports.require_free(port)


def test_a_server_that_shares_its_port_is_seen_too():
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        server.bind((ports.HOST, 0))
        server.listen()
        with pytest.raises(SetupError, match="is in use"):
            ports.require_free(server.getsockname()[1])


@pytest.mark.parametrize("text", ["", "0", "-1", "80a", "65534", "99999", "８０", "8000 "])
def test_what_is_no_port_with_two_after_it_is_refused(text: str):
    with pytest.raises(SetupError, match="give a number from 1 to 65533"):
        ports.parse(text, following=2)


def test_free_ports_come_in_a_row():
    first = ports.free(3)
    with contextlib.ExitStack() as opened:
        for port in range(first, first + 3):
            server = opened.enter_context(socket.create_server((ports.HOST, port)))
            assert server.getsockname()[1] == port


def test_free_ports_are_none_that_an_outgoing_connection_may_take():
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert all(ports.free(7) + 7 <= lowest for _ in range(50))


def test_a_listening_port_answers_and_a_closed_one_does_not():
    with socket.create_server((ports.HOST, 0)) as server:
        address = server.getsockname()
        assert ports.answers(address)
    assert not ports.answers(address)
