"""Reconciling with a real gateway: orphaned charges are named, and refunded once when asked."""

import io
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import call_command

from payments import reconciling
from payments.gateways import gateway

pytestmark = pytest.mark.django_db(transaction=True)


def orphan() -> str:
    """A charge that no payment of ours knows of; its key."""
    key = f"orphan-{uuid4()}"
    charged = gateway().charge(key=key, token="tok_ok", amount=700, currency="KRW", order_id=None)
    assert charged.status == "succeeded"
    return key


@pytest.mark.usefixtures("own_gateway")
def test_an_orphaned_charge_is_named_and_left_alone() -> None:
    key = orphan()
    found = reconciling.reconcile()
    assert [finding.difference.key for finding in found.findings] == [key]
    assert not found.is_clean
    assert gateway().find(key=key).refunded_amount == 0


@pytest.mark.usefixtures("own_gateway")
def test_fixing_refunds_it_once() -> None:
    key = orphan()
    assert reconciling.reconcile(fix=True).is_clean
    assert reconciling.reconcile(fix=True).findings == []
    assert gateway().find(key=key).refunded_amount == 700


def test_a_gateway_that_is_away_is_told_and_exits_1(settings: Any) -> None:
    settings.GATEWAY_URL = "http://127.0.0.1:1"
    out = io.StringIO()
    with pytest.raises(SystemExit) as ended:
        call_command("reconcile", stdout=out)
    assert ended.value.code == 1
    assert "can't be read" in out.getvalue()
