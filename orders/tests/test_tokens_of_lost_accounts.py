"""Access tokens of accounts that a restore has lost: nothing is sold, issued or credited to them."""

import pytest

from coupons.models import Coupon
from coupons.tests.factories import CampaignFactory
from inventory.tests.factories import ProductFactory
from orders.models import Order
from payments.models import Payment
from shop.tests.case_tables import in_one_test
from shop.tests.clients import client_of
from shop.tests.factories import AccountFactory

pytestmark = pytest.mark.django_db(transaction=True)


@in_one_test(
    ("path", "body", "expected"),
    [
        ("/api/v1/orders", {"items": []}, (401, "token_invalid")),
        ("/api/v1/orders", {"items": [], "payment": {"token": "tok_ok"}}, (401, "token_invalid")),
        ("/api/v1/coupons", {"campaign": 0}, (404, "not_found")),
        ("/api/v1/wallet/top-ups", {"amount": 500, "token": "tok_ok"}, (404, "not_found")),
    ],
)
def test_a_call_of_an_account_that_is_not_there_is_refused_and_changes_nothing(
    path: str, body: dict[str, object], expected: tuple[int, str]
) -> None:
    product, campaign = ProductFactory.create(on_hand=10), CampaignFactory.create()
    lost = AccountFactory.create()
    client = client_of(lost)
    lost.delete()
    named = {"items": [{"product": product.pk, "quantity": 1}], "campaign": campaign.pk}

    response = client.post(path, {name: named.get(name, body[name]) for name in body}, key="of-the-lost")

    assert (response.status_code, response.json()["code"]) == expected, response.content
    assert not (Order.objects.exists() or Coupon.objects.exists() or Payment.objects.exists())
