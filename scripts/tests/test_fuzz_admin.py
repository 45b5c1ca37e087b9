"""The fuzz of operators' forms: it reads them as a browser does, and notices what is accepted wrongly."""

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

import pytest

from scripts.fuzz import admin_forms
from scripts.fuzz.admin_session import Operator
from scripts.fuzz.findings import Findings
from shop.tests.case_tables import in_one_test

PAGE = """
<form method="post" action="refund/"><input type="hidden" name="csrfmiddlewaretoken" value="t">
<input name="amount" value="5" required><textarea name="reason" required></textarea>
<select name="kind"><option value="a">A<option value="b" selected>B</select>
<input type="checkbox" name="restock"><input type="checkbox" name="notify" checked>
<button name="do" value="refund">Refund</button></form>
<form action="https://elsewhere.example/"><input name="q"></form>
<a href="/admin/orders/order/7/change/?a=1#b">one</a><a href="https://elsewhere.example/admin/">no</a>
"""


def test_a_form_is_read_with_what_a_browser_would_send_of_it():
    page = admin_forms.read(PAGE, "/admin/orders/order/7/")
    [form] = page.forms
    assert (form.action, form.method, form.reason) == ("/admin/orders/order/7/refund/", "POST", "reason")
    sent = [(one.name, one.value) for one in form.fields if one.is_sent]
    assert sent == [("amount", "5"), ("reason", ""), ("kind", "b"), ("notify", "on")]
    assert page.links == ("/admin/orders/order/7/change/",)
    assert admin_forms.shape(form.action) == "/admin/orders/order/#/refund/"


Answer = Callable[[str, dict[str, list[str]]], tuple[int, dict[str, str]]]


@pytest.fixture
def serve() -> Iterator[Callable[[Answer], Operator]]:
    """Starts pages that answer a POST so; an operator of theirs that knows the form."""
    servers = []

    def start(answer: Answer) -> Operator:
        class Pages(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
                status, headers = answer(self.path, parse_qs(body, keep_blank_values=True))
                self.send_response(status)
                for name, value in {"Content-Length": "0", **headers}.items():
                    self.send_header(name, value)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Pages)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        operator = Operator(f"http://127.0.0.1:{server.server_port}", Findings(), "1")
        [form] = admin_forms.read(PAGE, "/admin/orders/order/7/").forms
        operator.forms[form.kind] = form
        return operator

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def accepts(_: str, __: dict[str, list[str]]) -> tuple[int, dict[str, str]]:
    return 302, {"Location": "/admin/orders/order/7/"}


def test_a_form_that_is_accepted_without_a_reason_is_a_finding(serve: Callable[[Answer], Operator]):
    operator = serve(accepts)
    assert operator.check_reasons() == 1
    assert list(operator.findings.found) == ["/admin/orders/order/#/refund/ was accepted without a reason"]


def test_a_form_that_asks_again_for_the_reason_is_none(serve: Callable[[Answer], Operator]):
    asked = []

    def asks_again(_: str, values: dict[str, list[str]]) -> tuple[int, dict[str, str]]:
        asked.append((values["amount"], values["reason"]))
        return 200, {}

    operator = serve(asks_again)
    operator.check_reasons()
    assert operator.findings.found == {}
    assert asked == [(["5"], [""]), (["5"], [" \t"])]


@pytest.mark.parametrize("status", [200, 302])
def test_a_form_that_is_accepted_without_a_permission_is_a_finding(
    status: int, serve: Callable[[Answer], Operator]
):
    operator = serve(lambda *_: (status, {"Location": "/admin/orders/order/7/"}))
    operator.check_permissions(list(operator.forms.values()))
    assert list(operator.findings.found) == [
        "/admin/orders/order/#/refund/ was accepted without a permission"
    ]


@in_one_test(("status", "headers"), [(403, {}), (404, {}), (302, {"Location": "/admin/login/?next=/admin/"})])
def test_a_form_that_is_refused_is_none(
    status: int, headers: dict[str, str], serve: Callable[[Answer], Operator]
):
    operator = serve(lambda *_: (status, headers))
    operator.check_permissions(list(operator.forms.values()))
    assert operator.findings.found == {}
