"""An identity provider's tokens at a web server of two processes: a crowd of new people, and new keys."""

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import urllib3
from django.contrib.auth.models import User

from accounts.models import ExternalIdentity
from accounts.tests import own_identity_provider
from accounts.tests.own_identity_provider import AUDIENCE, FIRST, IdentityProvider, SigningKey
from coupons.models import Coupon
from coupons.tests.factories import CampaignFactory
from foundation.tests.live import serving
from scripts.stack import own_stack

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.boots("a web server and an identity provider"),
]
PEOPLE = 10_000
CONNECTIONS = 200
KEY = SigningKey("es", "ES256")
"""Quick to sign with: the test makes thousands of tokens, as the provider would."""


@pytest.fixture
def provider(tmp_path):
    folder = tmp_path / "provider"
    folder.mkdir()
    with own_identity_provider.running(folder) as running:
        running.have(KEY, FIRST)
        yield running


def shop(folder: Path, provider: IdentityProvider):
    settings = {
        "IDENTITY_ISSUER": provider.issuer,
        "IDENTITY_AUDIENCE": AUDIENCE,
        "IDENTITY_JWKS_URL": f"{provider.issuer}/jwks",
    }
    return serving(folder, workers=2, **own_stack.NO_RATES, **settings)


class Crowd:
    """Callers over connections that are kept."""

    def __init__(self, address):
        self._address = address
        self._pool = urllib3.PoolManager(maxsize=CONNECTIONS, block=True, retries=False, timeout=60)

    def coupon(self, raw: str, campaign: int):
        """The coupon that the bearer gets, asked for again after each 503."""
        while True:
            answer = self._pool.request(
                "POST",
                f"{self._address}/api/v1/coupons",
                json={"campaign": campaign},
                headers={"Authorization": f"Bearer {raw}"},
            )
            if answer.status != 503:
                assert answer.status in (200, 201), answer.data
                return answer.json()

    def status(self, raw: str) -> int:
        return self._pool.request(
            "GET", f"{self._address}/api/v1/users/me", headers={"Authorization": f"Bearer {raw}"}
        ).status


def test_ten_thousand_people_who_call_twice_at_once_have_an_account_each(tmp_path, provider):
    campaign = CampaignFactory(quantity=2 * PEOPLE)
    tokens = [KEY.sign(provider.claims(f"person {number}")) for number in range(PEOPLE)]

    with shop(tmp_path, provider) as server, ThreadPoolExecutor(CONNECTIONS) as threads:
        crowd = Crowd(server.address)
        coupons = list(
            threads.map(lambda raw: crowd.coupon(raw, campaign.pk), [one for one in tokens for _ in "ab"])
        )

    assert ExternalIdentity.objects.count() == User.objects.count() == Coupon.objects.count() == PEOPLE
    owners = [coupon["account"] for coupon in coupons]
    assert owners[::2] == owners[1::2]
    assert len({*owners}) == PEOPLE


def test_keys_change_and_the_provider_goes_away_under_load_and_nobody_is_refused(tmp_path, provider):
    second = SigningKey("second", "ES256")

    with shop(tmp_path, provider) as server, ThreadPoolExecutor(16) as threads:
        crowd = Crowd(server.address)
        # Longer than the shop waits between two looks at the provider's keys.
        before = _load(threads, crowd, _tokens(provider, KEY), seconds=12)
        provider.have(second, KEY, FIRST)
        rotated = _load(threads, crowd, _tokens(provider, second), seconds=3)
        provider.stop()
        without = _load(threads, crowd, _tokens(provider, KEY, second), seconds=3)

    assert [{*seen} for seen in (before, rotated, without)] == [{200}] * 3


def _tokens(provider, *keys):
    return [key.sign(provider.claims(f"person {number}")) for number in range(50) for key in keys]


def _load(threads, crowd, tokens, *, seconds):
    """The statuses of calls by these tokens for so long."""
    ends_at = time.monotonic() + seconds
    seen: Counter[int] = Counter()
    while time.monotonic() < ends_at:
        seen.update(threads.map(crowd.status, tokens))
    return seen
