"""The operators' pages of orders and payments: readable for everyone, and on a phone."""

from collections.abc import Callable
from typing import Any

import pytest

from shop.tests.browser import page_sweep
from shop.tests.browser.stack import Stack


@pytest.mark.parametrize("under", ["/admin/orders/", "/admin/payments/"])
def test_a_page_has_no_severe_finding_and_fits_a_phone(
    open_page: Callable[..., Any], stack: Stack, under: str
) -> None:
    assert page_sweep.findings(open_page, stack, under=under) == {}
