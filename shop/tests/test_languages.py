"""What a request prefers: the language of problems and pages, and to wait (RFC 7240)."""

import ast
import re
import time

import pytest
from django.http import HttpRequest, HttpResponse
from django.utils import translation
from django.utils.translation import gettext_lazy
from pydantic import ValidationError

from accounts.tests.clients import new_customer
from foundation import errors, lazy_texts
from foundation.errors import Rejected
from foundation.http import preferences, validation_texts
from foundation.http.pages import middleware
from foundation.http.preferences import wait_seconds
from foundation.http.validation import Input, Query
from foundation.lazy_texts import mark, render, translate_stored
from foundation.tests.factories import SuperuserFactory
from orders.saga import definitions
from scripts.stack import places
from shop.tests.test_literals import shapes

LOST = "The request can't be understood."


@pytest.mark.parametrize(
    ("header", "language"),
    [
        (None, "en"),
        ("", "en"),
        ("ko", "ko"),
        ("ko-KR", "ko"),
        ("KO-kr,en;q=0.5", "ko"),
        ("en;q=0.5, ko;q=0.9", "ko"),
        ("en-US,en;q=0.9,ko;q=0.8", "en"),
        ("ja, ko;q=0.5", "ko"),
        ("fr, *;q=0.1", "en"),
        ("*", "en"),
        ("ko;q=0", "en"),
        ("ko;q=nonsense", "en"),
        (";;,,==", "en"),
        ("한국어", "en"),
        ("ko" + ", ko" * 100, "en"),
    ],
)
def test_the_language_is_the_one_that_accept_language_prefers(header, language):
    assert preferences.choose_language(header) == language


def test_only_the_texts_of_a_problem_are_translated(db):
    api, path = new_customer(), "/orders/01890a5d-ac96-774b-bcce-b302099a8057"
    named = {"X-Request-ID": "one"}
    english = api.get(path, **named)
    korean = api.get(path, **named | {"Accept-Language": "ko-KR,ko;q=0.9,en;q=0.8"})

    assert korean.json() == english.json() | {"detail": "그런 주문이 없습니다."}
    assert english.json()["detail"] == "There is no such order."
    for response, language in ((english, "en"), (korean, "ko")):
        assert response["Content-Language"] == language
        assert "Accept-Language" in response["Vary"]


def test_a_value_stays_as_it_is_and_parts_are_translated():
    part = mark("product {product}", product=7)
    text = mark("Not enough in stock: {products}.", products=lazy_texts.join(", ", [part, part]))

    assert str(text) == "Not enough in stock: product 7, product 7."
    assert render(text, "ko") == "재고가 부족합니다: 상품 7, 상품 7."
    assert render(gettext_lazy("There is no such order."), "ko") == "그런 주문이 없습니다."


def test_what_is_logged_and_stored_of_an_error_is_english_on_a_korean_page():
    error = Rejected(mark("{campaign} is sold out.", campaign="봄"), code="sold_out")
    with translation.override("ko"):
        assert (str(error), error.detail) == ("봄 is sold out.", "봄 캠페인의 쿠폰이 매진되었습니다.")
        stored = definitions.refusal_or_failure(error)
        assert (type(stored.detail), stored.detail) == (str, "봄 is sold out.")


def test_stored_texts_are_translated_if_the_catalogs_have_them():
    assert translate_stored("The card was declined.", "ko") == "카드가 거절되었습니다."
    assert translate_stored("200 points held", "ko") == "포인트 200 사용 보류"
    for unknown in ("", "Broken by hand", "7 of 9", "{number}"):
        assert translate_stored(unknown, "ko") == unknown
    assert translate_stored("The card was declined.", "en") == "The card was declined."


def test_a_page_is_in_the_language_until_its_response():
    request = HttpRequest()
    request.META["HTTP_ACCEPT_LANGUAGE"] = "ko"
    response = middleware.choose_language(
        lambda _: HttpResponse(translation.gettext(LOST), headers={"Vary": "Cookie"})
    )(request)

    assert response.text == "요청을 이해할 수 없습니다."
    assert (response["Content-Language"], response["Vary"]) == ("ko", "Cookie, Accept-Language")
    assert translation.gettext(LOST) == LOST, "the thread makes other responses next"


@pytest.mark.django_db
def test_a_member_of_staff_chooses_the_language_of_the_admin_also_to_sign_in(client):
    client.post("/admin/language/", {"language": "ko", "next": "/admin/login/"})
    assert "로그인" in client.get("/admin/login/", headers={"Accept-Language": "en"}).text
    client.force_login(SuperuserFactory())
    chosen = client.post("/admin/language/", {"language": "ko", "next": "https://example.com/"})
    assert (chosen.status_code, chosen["Location"]) == (302, "/")

    page = client.get("/admin/", headers={"Accept-Language": "en"})
    assert page["Content-Language"] == "ko" and "Cookie" in page["Vary"]
    assert client.get("/api/docs/", headers={"Accept-Language": "en"})["Content-Language"] == "en"
    client.post("/admin/language/", {"language": "none"})
    assert client.get("/admin/")["Content-Language"] == "ko"


WRONG = [
    None, True, -1, 0, 10**30, 1.5, "", " ", "\0", "x" * 5_000, "2026-01-01", "2026-01-01T00:00:00",
    "not-a-uuid", "\udcff", [], [1], [1] * 100, {}, {"extra": 1}, {"product": 1, "quantity": 0},
]  # fmt: skip


def test_djangos_korean_that_reads_wrongly_is_replaced():
    """It has "save as another name" on a button, and "history" for what changed."""
    with translation.override("ko"):
        assert translation.gettext("Save and add another") == "저장하고 하나 더 추가"
        assert translation.gettext("History") == "변경 이력"
        assert translation.gettext("Delete") == "삭제"


def test_every_error_of_every_body_is_described_in_korean():
    found = []
    for shape in (*shapes(Input), *shapes(Query)):
        for given in [{}, {"unknown": 1}, *({name: value} for name in shape.model_fields for value in WRONG)]:
            try:
                shape.model_validate(given)
            except ValidationError as error:
                found += error.errors()
    described = {error["type"]: render(validation_texts.describe(error), "ko") for error in found}

    assert {kind: text for kind, text in described.items() if not re.search("[가-힣]", text)} == {}
    assert len(described) > 15


NOT_OF_THE_API = {
    *("tests", "migrations", "management", "admin", "backoffice", "admin_base"),
    *("imports", "reconciliation", "gateway_lookups.py"),
}
"""Folders and modules whose errors only commands and the operators' pages show."""


def test_every_text_of_an_error_is_marked():
    found = []
    names = {name for name in dir(errors) if isinstance(getattr(errors, name), type)} - {"Any", "TypeVar"}
    for path in sorted(path for app in places.APPS for path in (places.PROJECT / app).rglob("*.py")):
        if NOT_OF_THE_API & set(path.parts) or path.name.startswith("admin"):
            continue
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            name = ast.unparse(node.func).rpartition(".")[2]
            at = {"invalid_field": 2, "required": 1}.get(name, 0)
            if name in {*names, "invalid_field", "required"} and len(node.args) > at:
                found.append((f"{path.relative_to(places.PROJECT)}:{node.lineno}", node.args[at]))
    unmarked = [where for where, text in found if isinstance(text, ast.Constant | ast.JoinedStr)]
    assert unmarked == []
    assert len(found) > 100


# `Prefer: wait=N`; an invalid header is ignored

WAITS = {
    10: (
        *("wait=10", "WAIT=10", " wait = 10 ", 'wait="10"', "wait=0010", "wait=10; foo=bar"),
        *("wait=10, wait=20", "respond-async, wait=10", ",, wait=10,", "return=minimal; foo,wait=10"),
        *('foo="a, wait=5"; bar, wait=10', 'foo="\\", wait=5", wait=10', "wait=soon, wait=10"),
    ),
    None: (
        *(None, "", "wait", "wait=", "wait=soon", "wait=-5", "wait=1.5", "wait=1e1", "wait==5", "wait=5 5"),
        *("await=5", "x-wait=5", "foo;wait=5", 'foo="wait=5"', 'foo="a, wait=5, b"', 'foo="a, wait=5'),
        *('wait=" 5"', 'wait="5', "wait=\u0665", ",;=,"),
    ),
    0: ("wait=0, wait=5",),
    30: ("wait=30", "wait=31", "wait=60", "wait=100", f"wait={'9' * 5_000}"),
}


@pytest.mark.parametrize("seconds", WAITS)
def test_the_first_valid_wait_among_other_preferences_counts_up_to_30_seconds(seconds):
    found = {prefer: wait_seconds(prefer) for prefer in WAITS[seconds]}
    assert found == dict.fromkeys(WAITS[seconds], seconds)


@pytest.mark.parametrize("part", ["wait ", ",", '"', "a;", 'a="', "\\", "wait=0", " "])
def test_a_long_invalid_header_is_parsed_quickly(part):
    began = time.thread_time()
    wait_seconds(part * 10_000)
    assert time.thread_time() - began < 0.5
