"""The fuzz of headers, bodies, connections and forms: it notices failures, and the shop has none."""

import threading
from dataclasses import replace

import pytest

from lab.calls import new_session
from lab.fuzz import __main__ as command, operator as operators, raw
from lab.fuzz.findings import Findings
from lab.fuzz.operator import Operator
from scripts.stack import instance as instances, ports
from scripts.tests import canned_shop
from scripts.tests.canned_shop import LOST, Answer, problem

SECONDS = 20
WHOLE = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


@pytest.fixture
def pages():
    with canned_shop.running() as pages:
        pages.answer = lambda sent: ACCEPTED
        yield pages


def kinds(findings) -> list[str]:
    return [one.partition(": ")[0] for one in findings.findings]


def send_to(port: int, monkeypatch, kind="bodies") -> list[str]:
    """The findings of one whole request, where nothing is waited for longer than a second."""
    monkeypatch.setattr(raw, "ANSWER_SECONDS", 1.0)
    findings = Findings()
    raw.send(port, kind, WHOLE, findings, "detail")
    return kinds(findings)


@pytest.mark.boots("a whole shop, or sleep")
def test_the_shop_answers_a_fuzz_of_20_seconds_without_a_finding(tmp_path, capsys):
    instance = instances.choose(home=tmp_path, port=str(ports.free(instances.PORTS)), database="mariadb")
    code = command.fuzz(instance, seconds=SECONDS, seed="1")
    said = capsys.readouterr().out
    assert code == 0, said
    for answered in ("admin 200", "admin 302", "raw 200", "raw 400", "raw 401"):
        assert f" x {answered} " in said, said


@pytest.mark.parametrize(
    ("answer", "finding"),
    [(problem(500, "internal_error"), "bodies answered 500"), (LOST, "bodies were not answered")],
)
def test_a_5xx_and_an_end_without_an_answer_are_findings(answer, finding, pages, monkeypatch):
    pages.queue(answer)
    assert send_to(pages.port, monkeypatch) == [finding]


def test_what_is_no_http_and_is_answered_all_the_same_is_a_finding(pages, monkeypatch):
    assert send_to(pages.port, monkeypatch, "no HTTP") == ["no HTTP was answered 302"]


def test_a_connection_that_is_never_answered_is_a_finding(pages, monkeypatch):
    ended = threading.Event()
    pages.answer = lambda sent: ended.wait(60) and LOST
    try:
        [found] = send_to(pages.port, monkeypatch)
    finally:
        ended.set()
    assert found.startswith("bodies had neither an answer nor an end")


PAGE = """
<form method="post" action="refund/"><input type="hidden" name="csrfmiddlewaretoken" value="t">
<input name="amount" value="5" required><input name="note"><textarea name="reason" required></textarea>
<select name="kind"><option value="a">A<option value="b" selected>B</select>
<input type="checkbox" name="restock"><input type="checkbox" name="notify" checked>
<button name="do" value="refund">Refund</button></form>
<form action="https://elsewhere.example/"><input name="q"></form>
<a href="/admin/orders/order/7/change/?a=1#b">one</a><a href="https://elsewhere.example/admin/">no</a>
"""
ACCEPTED = Answer(302, b"", {"Location": "/admin/orders/order/7/"})


@pytest.fixture
def operator(pages):
    """An operator of these pages that knows the form."""
    operator = Operator(pages.address, Findings(), "1", new_session())
    [[form], links] = operators.read(PAGE.encode(), "/admin/orders/order/7/")
    assert form.values == [("amount", "5"), ("note", ""), ("reason", ""), ("kind", "b"), ("notify", "on")]
    assert form.others == [("kind", "a"), ("restock", "on"), ("do", "refund")]
    assert links == ["/admin/orders/order/7/change/"]
    operator.forms[form.kind] = form
    return operator


def test_a_form_that_is_accepted_without_a_reason_is_a_finding(operator):
    assert operator.check(operator.forms.values(), "reason", "") == 1
    assert kinds(operator.findings) == ["/admin/orders/order/#/refund/ was accepted without a reason"]


@pytest.mark.parametrize("status", [200, 302])
def test_a_form_that_is_accepted_without_a_permission_is_a_finding(status, pages, operator):
    pages.answer = lambda sent: replace(ACCEPTED, status=status)
    operator.check(operator.forms.values(), "permission", "fuzz")
    assert kinds(operator.findings) == ["/admin/orders/order/#/refund/ was accepted without a permission"]
