"""The pages at `/` and `/demo/`: for whom they are, what they show and load, and what loading holds up."""

import asyncio
import json
import re
import threading
from collections.abc import Awaitable

import pytest
from django.contrib.auth.models import User
from django.contrib.staticfiles import finders
from django.test import Client

from accounts.tests.clients import client_of, problem_of, signed_in
from coupons.tests.factories import CampaignFactory
from demo import welcome_page
from foundation.concurrency.event_loop import CALL_POOL
from foundation.http.pages import rendering
from foundation.tests import asgi_client
from foundation.tests.asgi_client import Answer
from foundation.tests.factories import AccountFactory, OrderFactory, SuperuserFactory
from foundation.tests.korean import KOREAN
from foundation.tests.loop_guard import Blocked
from foundation.tests.outages import database_away
from inventory.tests.factories import ProductFactory
from scripts.stack import places

pytestmark = pytest.mark.django_db(transaction=True)
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


def session_of(account: User) -> str:
    return signed_in(account).cookies["sessionid"].value


def get(accept: str = BROWSER):
    return Client(headers={"Accept": accept}).get("/")


def load(accept: str = BROWSER, method="GET", **headers: str) -> Awaitable[Answer]:
    return asgi_client.send_request(method, "/", headers={"Accept": accept, **headers})


def test_a_browser_sees_what_is_left(db):
    CampaignFactory(name="Spring <b>drop</b>", quantity=7)
    ProductFactory(name="Mug", on_hand=3)

    html = get().text

    assert "Spring &lt;b&gt;drop&lt;/b&gt;" in html and "7 of 7" in html
    assert re.search(r"Mug</th>\s*<td>.*available.*</td>\s*<td class=\"number\">3<", html)


def test_a_campaign_for_everybody_has_no_number(db):
    CampaignFactory(name="All", quantity=None)

    html = get().text

    assert "for everybody" in html and "<progress" not in html


@pytest.mark.parametrize(
    "accept", ["*/*", "application/json", "text/plain", "application/json, text/html;q=0.5"]
)
def test_any_other_client_is_redirected_to_the_docs_of_the_api(db, accept):
    response = get(accept)

    assert (response.status_code, response.headers["Location"]) == (302, "/api/docs/")
    assert "Accept" in response.headers["Vary"].split(", ")


def test_it_shows_what_the_api_shows_to_anonymous_clients_and_no_more(db, settings):
    settings.IS_MAKE_RUN = False
    CampaignFactory(closed=True, name="Over")
    CampaignFactory(scheduled=True)
    ProductFactory(is_active=False, name="Secret")
    ProductFactory(on_hand=2)
    OrderFactory()

    figures = welcome_page._read_figures()

    for name, members in (
        ("campaigns", ("id", "name", "status", "quantity", "remaining")),
        ("products", ("id", "name", "availability", "available")),
    ):
        public = client_of().rows(f"/{name}")
        shown = [{member: row[member] for member in members} for row in figures[name]]
        assert shown == [{member: row[member] for member in members} for row in public]
    html = get().text
    assert not {"Over", "Secret", "awaiting"} & set(re.findall(r"\w+", html))


def test_it_needs_neither_debug_nor_files_of_other_hosts_nor_inline_scripts(db, settings):
    settings.DEBUG = False
    CampaignFactory()

    response = get()
    html = response.text

    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("text/html")
    assert response.headers["Cache-Control"] == "public, max-age=1"
    assert "Accept" in response.headers["Vary"]
    assert not response.cookies
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy and "unsafe" not in policy
    assert not re.findall(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", html)
    links = re.findall(r'(?:src|href)="([^"]+)"', html)
    assert all(link.startswith("/") for link in links)
    assert all(finders.find(link.removeprefix("/static/")) for link in links if link.startswith("/static/"))
    assert {"/api/docs/", "/api/schema/", "/admin/", "/admin/board/", "/metrics"} <= set(links)


def test_without_the_database_it_says_so_and_reads_again_later():
    CampaignFactory(name="Spring")
    with database_away():
        assert "The database does not answer just now" in get().text

    welcome_page.PAGES.forget()
    assert "Spring" in get().text


@pytest.mark.parametrize("accept", [BROWSER, "*/*", "application/json"])
def test_a_web_process_answers_as_django_does(accept):
    CampaignFactory(name="Spring")
    by_django = get(accept)
    name = "a-request-of-my-own"
    answer = asyncio.run(load(accept, **{"X-Request-ID": name}))

    assert (answer.status, answer.body) == (by_django.status_code, by_django.content)
    assert answer.headers["x-request-id"] == name
    sent_by_django = {name.lower(): value for name, value in by_django.headers.items()}
    differing = {"x-request-id", "content-length"} | (set() if answer.body else {"content-type"})
    assert {name: value for name, value in answer.headers.items() if name not in differing} == {
        name: value for name, value in sent_by_django.items() if name not in differing
    }


def test_other_methods_and_unknown_hosts_are_refused():
    assert asyncio.run(load(method="OPTIONS")).status == 405
    assert asyncio.run(load(Host="elsewhere.example")).status == 400
    assert asyncio.run(load("text/html," + "a/b," * 200)).status == 200


def test_a_hundred_clients_of_the_page_hold_one_thread_and_operators_still_sign_in(blocked):
    """They shared the operators' threads, so any client could keep operators out by loading the page."""

    async def sign_in_meanwhile():
        # As while the figures are being read and the database does not answer.
        with welcome_page.PAGES._mutex:
            loads = [asyncio.ensure_future(load()) for _ in range(100)]
            await asyncio.sleep(0.05)
            signing_in = await asyncio.wait_for(asgi_client.send_request("GET", "/admin/login/"), 15)
            busy = CALL_POOL.busy()
        return signing_in, busy, await asyncio.gather(*loads)

    signing_in, busy, answers = asyncio.run(sign_in_meanwhile())
    assert signing_in.status == 200
    assert busy <= 2
    assert {answer.status for answer in answers} == {200}
    assert blocked == Blocked()


def test_public_pages_that_hold_all_threads_they_may_leave_some_for_operators():
    release = threading.Event()
    scope = asgi_client.request_scope("GET", "/api/docs/")
    session = {"Cookie": f"sessionid={session_of(SuperuserFactory())}"}

    async def load_meanwhile():
        assert (await asgi_client.send_request("GET", "/admin/", headers=session)).status == 200
        for _ in range(2 * CALL_POOL._max_threads):
            CALL_POOL.start(lambda: release.wait(30) and None, **rendering.thread_share(scope))
        return await asyncio.wait_for(asgi_client.send_request("GET", "/admin/", headers=session), 15)

    try:
        assert asyncio.run(load_meanwhile()).status == 200
    finally:
        release.set()


def test_a_session_that_is_no_operators_has_no_share_of_their_threads():
    """Any client could hold the operators' threads by a cookie of its own."""
    buyers = session_of(AccountFactory())

    for session in ("forged", buyers):
        cookie = {"Cookie": f"other=1; sessionid={session}"}
        assert asyncio.run(asgi_client.send_request("GET", "/admin/", headers=cookie)).status == 302
        scope = asgi_client.request_scope("GET", "/admin/", headers=cookie)
        assert rendering.thread_share(scope) == {"group": ("page", "127.0.0.1"), "member": "public"}


FOLDER = places.PROJECT / "demo" / "static" / "storefront"
SCRIPTS = {path: path.read_text() for path in FOLDER.rglob("*.js") if path.parent.name != "lit-html"}
LATIN = re.compile(r"[A-Za-z]{3,}")
NO_KOREAN = {"SHA", "HMAC", "JavaScript", "user", "count", "total", "name", "time", "amount", "limit"}


@pytest.fixture(autouse=True)
def _demo(settings):
    settings.DEMO = True


def get_demo(**headers: str):
    return Client(headers={"Accept": "text/html", **headers}).get("/demo/")


def test_it_is_not_there_unless_it_is_turned_on_all_of_this_origin_and_nothing_inline(settings):
    settings.DEMO = False
    response = get_demo()
    assert problem_of(response) == (404, "not_found")
    assert "demo-pass" not in response.text
    settings.DEBUG, settings.DEMO = False, True

    response = get_demo()
    html = response.text

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
    options, in_english = (
        json.loads(re.findall(r'<script id="options" type="application/json">(.*?)</script>', html)[0])
        for html in (get_demo(**KOREAN).text, get_demo().text)
    )

    assert options["language"] == "ko"
    english = {
        name: text
        for name, text in options["texts"].items()
        if set(LATIN.findall(re.sub(r"\{\w+\}", "", text))) - NO_KOREAN
    }
    assert english == {}
    texts = in_english["texts"].items()
    assert all(options["texts"][name] != text for name, text in texts if LATIN.search(text))
