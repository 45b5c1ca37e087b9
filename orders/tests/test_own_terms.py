"""Members of staff don't buy by their own campaigns' coupons, nor at prices that they have just set."""

import pytest
from django.contrib.auth.models import User

from accounts.tests import api_keys
from accounts.tests.clients import client_of, new_customer
from coupons import campaigns
from coupons.tests.factories import change
from foundation import journal
from foundation.tests.factories import SuperuserFactory
from foundation.tests.samples import Increases
from foundation.tests.waiting import shifted
from inventory import products
from inventory.tests.factories import ProductFactory
from orders.models import Order
from orders.tests import buying

pytestmark = pytest.mark.django_db(transaction=True)
_keys = iter(range(1_000))


def acting(account: User):
    return journal.acting(journal.ActorContext(journal.Actor.STAFF, account.pk, account.username))


def campaign_of(account: User, code: str):
    with acting(account):
        return campaigns.create(
            name=code,
            quantity=5,
            code_source="shared",
            shared_code=code,
            discount_type="amount",
            discount_value=10**12,
        )


def order(api, product, **more) -> tuple[int, str]:
    answer = api.post("/orders", buying.order_of(product, **more), key=f"own-terms-{next(_keys)}")
    return answer.status_code, answer.json().get("code", "")


def test_an_order_refuses_a_coupon_of_a_campaign_that_its_buyer_made_or_changed_within_30_days():
    clerk, colleague = SuperuserFactory(), SuperuserFactory()
    product = ProductFactory(on_hand=9)
    campaign_of(clerk, "CLERKS-OWN")
    theirs = campaign_of(colleague, "COLLEAGUES")
    api = client_of(clerk)

    assert order(api, product, coupon="CLERKS-OWN") == (403, "own_account")
    assert Order.objects.count() == 0
    assert order(api, product, coupon="COLLEAGUES") == (201, "")
    helper = SuperuserFactory()
    with acting(helper):
        change(theirs, quantity=6)
    with acting(colleague):
        change(theirs, quantity=7)
    assert order(client_of(helper), product, coupon="COLLEAGUES") == (403, "own_account")
    assert order(new_customer(), product, coupon="CLERKS-OWN") == (201, "")
    with shifted(days=31):
        assert order(client_of(clerk), product, coupon="CLERKS-OWN") == (201, "")


@pytest.mark.parametrize("strategy", ["group_commit", "pessimistic", "optimistic"])
def test_an_order_refuses_a_price_that_its_buyer_set_within_a_day(settings, strategy):
    settings.INVENTORY_STRATEGY = strategy
    clerk = SuperuserFactory()
    cheap, renamed = ProductFactory(on_hand=9), ProductFactory(on_hand=9)
    with acting(clerk):
        products.change(product_id=cheap.pk, price=1)
        products.change(product_id=renamed.pk, name="Another name")

    assert order(client_of(clerk), cheap) == (403, "own_account")
    assert order(client_of(clerk), renamed) == (201, "")
    assert order(new_customer(), cheap) == (201, "")
    with shifted(hours=25):
        assert order(client_of(clerk), cheap) == (201, "")


def test_an_api_key_that_acts_for_the_account_is_no_way_round():
    clerk, product = SuperuserFactory(), ProductFactory(on_hand=9)
    with acting(clerk):
        products.change(product_id=product.pk, price=1)
    secret = api_keys.make("orders:write", "act").secret
    assert order(api_keys.KeyApi(secret, account=clerk), product) == (403, "own_account")


def test_orders_of_staff_are_counted_and_refused_ones_and_those_of_customers_are_not():
    clerk, product = SuperuserFactory(), ProductFactory(on_hand=2)
    increases = Increases("firstcome_staff_orders_total")
    assert order(client_of(clerk), product) == (201, "")
    assert order(new_customer(), product) == (201, "")
    assert order(client_of(clerk), product) == (409, "insufficient_stock")
    assert increases() == {"firstcome_staff_orders_total": 1}
