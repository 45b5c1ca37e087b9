"""What every test of coupons stands on."""

import pytest

from coupons import issuing


@pytest.fixture(autouse=True)
def _forgetful_issuing() -> None:
    """A campaign's id may come again in the next test, with another strategy."""
    issuing.forget()
