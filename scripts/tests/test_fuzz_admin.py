"""The fuzz of operators' forms: it reads them as a browser does, and notices what is accepted wrongly."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from scripts.fuzz import admin_forms
from scripts.fuzz.admin_session import Operator
from scripts.fuzz.findings import Findings
from scripts.tests import canned_shop
from scripts.tests.canned_shop import Answer, CannedShop

PAGE = """
<form method="post" action="refund/"><input type="hidden" name="csrfmiddlewaretoken" value="t">
<input name="amount" value="5" required><textarea name="reason" required></textarea>
<select name="kind"><option value="a">A<option value="b" selected>B</select>
<input type="checkbox" name="restock"><input type="checkbox" name="notify" checked>
<button name="do" value="refund">Refund</button></form>
<form action="https://elsewhere.example/"><input name="q"></form>
<a href="/admin/orders/order/7/change/?a=1#b">one</a><a href="https://elsewhere.example/admin/">no</a>
"""
ACCEPTED = Answer(302, b"", {"Location": "/admin/orders/order/7/"})


@pytest.fixture
def pages() -> Iterator[CannedShop]:
    """Pages that accept every form."""
    with canned_shop.running() as pages:
        pages.answer = lambda sent: ACCEPTED
        yield pages


@pytest.fixture
def operator(pages: CannedShop) -> Operator:
    """An operator of these pages that knows the form."""
    operator = Operator(pages.address, Findings(), "1")
    [form] = admin_forms.read(PAGE, "/admin/orders/order/7/").forms
    operator.forms[form.kind] = form
    return operator


def test_a_form_that_is_accepted_without_a_reason_is_a_finding(operator: Operator):
    assert operator.check_reasons() == 1
    assert list(operator.findings.found) == ["/admin/orders/order/#/refund/ was accepted without a reason"]


@pytest.mark.parametrize("status", [200, 302])
def test_a_form_that_is_accepted_without_a_permission_is_a_finding(
    status: int, pages: CannedShop, operator: Operator
):
    pages.answer = lambda sent: replace(ACCEPTED, status=status)
    operator.check_permissions(list(operator.forms.values()))
    assert list(operator.findings.found) == [
        "/admin/orders/order/#/refund/ was accepted without a permission"
    ]
