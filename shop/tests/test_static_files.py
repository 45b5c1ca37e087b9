"""Files under `/static`: served by WhiteNoise, cached for a day."""

from pathlib import Path

import pytest
from django.conf import LazySettings
from django.test import Client


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


def test_an_unchanged_file_is_not_sent_again(collected: Path) -> None:
    client = Client()
    etag = client.get("/static/admin/base.css").headers["ETag"]
    assert client.get("/static/admin/base.css", headers={"If-None-Match": etag}).status_code == 304


@pytest.mark.parametrize(
    "path",
    ["/static/admin/none.css", "/static/admin/", "/static/../settings.py", "/static/%2e%2e/settings.py"],
)
def test_what_is_no_collected_file_is_not_found(collected: Path, path: str) -> None:
    assert Client().get(path).status_code == 404


def test_without_a_folder_the_shop_serves_everything_else(tmp_path: Path, settings: LazySettings) -> None:
    settings.STATIC_ROOT = str(tmp_path / "missing")
    client = Client()
    assert client.get("/static/admin/base.css").status_code == 404
    assert client.get("/healthz").status_code == 200
