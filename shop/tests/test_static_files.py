"""Files under `/static`: served by WhiteNoise, cached for a day."""

from contextlib import closing
from pathlib import Path

import pytest
from django.conf import LazySettings
from django.http import FileResponse, StreamingHttpResponse
from django.test import Client

from shop.http.pages import pages
from shop.tests.live import web
from shop.tests.test_protocol import answer_on, connect


@pytest.fixture
def collected(tmp_path: Path, settings: LazySettings) -> Path:
    settings.STATIC_ROOT = str(tmp_path / "static")
    folder = tmp_path / "static" / "admin"
    folder.mkdir(parents=True)
    (folder / "base.css").write_text("body {}")
    return folder


@pytest.mark.parametrize("method", ["get", "head"])
def test_a_file_is_served_for_a_day_with_its_type_and_to_no_other_origin(
    collected: Path, method: str
) -> None:
    response = getattr(Client(), method)("/static/admin/base.css")
    assert response.status_code == 200
    assert response.headers["Content-Type"] == 'text/css; charset="utf-8"'
    assert response.headers["Cache-Control"] == "max-age=86400, public"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert "Access-Control-Allow-Origin" not in response.headers
    assert response.getvalue() == (b"body {}" if method == "get" else b"")


@pytest.mark.django_db
def test_a_large_file_is_sent_from_disk_and_a_small_one_from_memory(tmp_path: Path) -> None:
    """A slow reader would keep a copy of a large file in memory."""
    path = tmp_path / "large.js"
    path.write_bytes(b"x" * (pages.CHUNK_BYTES + 1))
    with closing(FileResponse(path.open("rb"))) as large:
        body, _ = pages._response_body(large)
    assert not isinstance(body, bytes)
    with body:
        assert body.fileno() and body.read() == path.read_bytes()
    path.write_bytes(b"small")
    with closing(FileResponse(path.open("rb"))) as small:
        assert pages._response_body(small) == (b"small", 5)
    with closing(StreamingHttpResponse([b"x", b"y"])) as response:
        assert pages._response_body(response) == (b"xy", 2)


@pytest.mark.boots("a web server")
@pytest.mark.django_db(transaction=True)
def test_large_files_their_parts_and_empty_responses_have_a_length(collected: Path, tmp_path: Path) -> None:
    content = bytes(range(256)) * 8_000
    (collected / "large.bin").write_bytes(content)
    requests = [
        (b"GET", b"", 200, content),
        (b"GET", b"Range: bytes=100-999999\r\n", 206, content[100:1_000_000]),
        (b"GET", b"Range: bytes=9-5\r\n", 416, b""),
        (b"POST", b"Content-Length: 0\r\n", 405, b""),
    ]
    with web(tmp_path, workers=1, STATIC_ROOT=str(collected.parent)) as address:
        for version in (b"1.0", b"1.1"):
            for method, header, status, body in requests:
                with connect(address) as connection:
                    line = b"%s /static/admin/large.bin HTTP/%s\r\n" % (method, version)
                    connection.sendall(line + b"Host: 127.0.0.1\r\n" + header + b"\r\n")
                    answer = answer_on(connection)
                    assert (answer.status, answer.body) == (status, body)
                    assert "Transfer-Encoding" not in answer.headers
