"""Messages between processes: what was made arrives as it was, and nothing that this shop didn't sign."""

import pickle
from collections.abc import Iterator

import pytest
from django.conf import LazySettings

from coupons.allocation.writes import Issued
from coupons.tests.factories import CampaignFactory, coupon_of
from shop.errors import FirstcomeError, Overloaded, Rejected, Throttled
from shop.idempotency.claims import InFlight
from shop.lazy_texts import mark as _
from shop.redis.handover import messages

NAME = "firstcome:handover:inbox"
ERRORS = [
    Rejected(_("Only {count} are left.", count=3), code="sold_out", items=[{"product": 1}]),
    InFlight(),
    Throttled(_("Later."), retry_after=7),
    Overloaded("full"),
]


@pytest.fixture(autouse=True)
def _forget_the_key() -> Iterator[None]:
    yield
    messages._key.cache_clear()


@pytest.mark.django_db
def test_coupons_arrive_with_their_campaign() -> None:
    coupon = coupon_of(CampaignFactory.create())
    [arrived] = messages.unpack(NAME, messages.pack(NAME, [Issued(coupon, is_new=True)]))
    assert arrived.is_new
    assert arrived.coupon == coupon
    assert arrived.coupon.__dict__.keys() == coupon.__dict__.keys()
    assert arrived.coupon.campaign.name == coupon.campaign.name
    arrived.coupon.refresh_from_db()


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_errors_arrive_with_their_texts_and_members(error: FirstcomeError) -> None:
    arrived = messages.unpack(NAME, messages.pack(NAME, error))
    assert type(arrived) is type(error)
    assert (str(arrived), arrived.code, arrived.retry_after, arrived.extra) == (
        str(error),
        error.code,
        error.retry_after,
        error.extra,
    )
    assert (
        arrived.detail.in_language("en") == str(error) if error.detail != "full" else arrived.detail == "full"
    )


def test_what_another_signed_or_changed_is_not_unpickled(settings: LazySettings) -> None:
    signed = messages.pack(NAME, "content")
    assert messages.unpack(NAME, signed) == "content"
    assert messages.unpack(NAME, bytes(messages.SIGNATURE_BYTES) + pickle.dumps("content")) is None
    assert messages.unpack(NAME, signed[:-1] + b"x") is None
    assert messages.unpack(NAME, b"") is None
    assert messages.unpack("firstcome:handover:another", signed) is None
    settings.SECRET_KEY = "another" * 10
    messages._key.cache_clear()
    assert messages.unpack(NAME, signed) is None
