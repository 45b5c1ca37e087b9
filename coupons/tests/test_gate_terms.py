"""The terms of a gate: up to date, and kept no longer than its members."""

from typing import Any

import pytest

from coupons import campaigns
from coupons.gate import gate, healing
from coupons.issuing import issuing
from coupons.issuing.strategies import redis_gate
from coupons.models import Campaign
from coupons.tests.factories import CampaignFactory, accounts

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_quantity_raised_while_the_gate_opens_is_published(monkeypatch: pytest.MonkeyPatch) -> None:
    campaign, [owner, late] = CampaignFactory.create(strategy="redis_gate", quantity=1), accounts(2)
    issuing.issue(campaign_id=campaign.pk, user_id=owner)
    gate.drop(campaign_id=campaign.pk)
    opened = gate.open

    def raised_meanwhile(read: Campaign, *, members: int) -> bool:
        campaigns.change(campaign_id=campaign.pk, quantity=2)
        return opened(read, members=members)

    monkeypatch.setattr(gate, "open", raised_meanwhile)

    assert redis_gate.issue(campaign_id=campaign.pk, user_id=late).is_new


def test_members_are_kept_for_as_long_as_the_terms(redis_server: Any) -> None:
    campaign, [owner] = CampaignFactory.create(strategy="redis_gate"), accounts(1)
    issuing.issue(campaign_id=campaign.pk, user_id=owner)
    redis_server.expire(gate._members(campaign.pk), 30)  # as a day after the last coupon

    healing.heal()

    assert redis_server.ttl(gate._members(campaign.pk)) > redis_server.ttl(gate._terms(campaign.pk))
