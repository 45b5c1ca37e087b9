"""How the web server is started."""

import socket
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from shop.tests.live import web

# What opens a connection of HTTP/2 by prior knowledge: the preface, and an empty SETTINGS frame.
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"


@pytest.mark.django_db(transaction=True)
def test_a_client_of_http_2_whose_bodies_nothing_could_end_is_not_served(tmp_path: Path) -> None:
    with web(tmp_path) as address:
        where = urlsplit(address)
        with socket.create_connection((str(where.hostname), where.port or 0), timeout=10) as connection:
            connection.sendall(PREFACE)
            answer = connection.recv(1024)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 4")
