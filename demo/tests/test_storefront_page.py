"""The page at `/demo/`: only where it is on, with a strict policy, and with every text of its scripts."""

import json
import re
from typing import Any

import pytest
from django.conf import LazySettings
from django.contrib.staticfiles import finders
from django.test import Client

from demo import storefront
from shop.configuration import BASE_DIR
from shop.tests.korean import KOREAN

FOLDER = BASE_DIR / "demo" / "static" / "storefront"
SCRIPTS = {path: path.read_text() for path in FOLDER.rglob("*.js") if path.parent.name != "lit-html"}
LATIN = re.compile(r"[A-Za-z]{3,}")
NO_KOREAN = {"SHA", "HMAC", "JavaScript", "user", "count", "total", "name", "time", "amount", "limit"}


@pytest.fixture(autouse=True)
def _demo(settings: LazySettings) -> None:
    settings.DEMO = True


def get(**headers: str) -> Any:
    return Client(headers={"Accept": "text/html", **headers}).get("/demo/")


def options_of(response: Any) -> dict[str, Any]:
    found = re.search(
        r'<script id="options" type="application/json">(.*?)</script>', response.content.decode()
    )
    assert found is not None
    options: dict[str, Any] = json.loads(found[1])
    return options


def test_it_is_not_there_unless_it_is_turned_on(settings):
    settings.DEMO = False

    response = get()

    assert (response.status_code, response.json()["code"]) == (404, "not_found")
    assert "demo-pass" not in response.content.decode()


def test_everything_comes_from_this_origin_and_nothing_is_inline(settings):
    settings.DEBUG = False

    response = get()
    html = response.content.decode()

    assert response.status_code == 200 and not response.cookies
    assert {"Accept-Language"} <= set(response.headers["Vary"].split(", "))
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "script-src 'self';" in policy and "unsafe" not in policy
    assert "require-trusted-types-for 'script'" in policy
    assert not re.findall(r"<script(?![^>]*(?:\bsrc=|application/json))|<style|\sstyle=|\son\w+=", html)
    links = re.findall(r'(?:src|href)="([^"]+)"', html)
    assert links and all(finders.find(link.removeprefix("/static/")) for link in links)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_script_imports_files_that_are_there_and_makes_no_html_of_text(path):
    script = SCRIPTS[path]
    for imported in re.findall(r'from "([^"]+)"', script):
        assert (path.parent / imported).is_file(), imported
    assert not re.findall(
        r"\binnerHTML\b|\beval\(|\bunsafeHTML\b|https?://|\bstyle=|\slocalStorage\b", script
    )


def test_in_korean_no_text_is_left_in_english():
    options = options_of(get(**KOREAN))

    assert options["language"] == "ko"
    english = {
        name: text
        for name, text in options["texts"].items()
        if set(LATIN.findall(re.sub(r"\{\w+\}", "", text))) - NO_KOREAN
    }
    assert english == {}
    assert all(
        options["texts"][name] != text for name, text in storefront.TEXTS.items() if LATIN.search(text)
    )
