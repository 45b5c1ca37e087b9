"""Operators who grant points beyond what one may grant alone."""

from django.contrib.auth.models import User

from accounts.tests.approving import as_operator, keyed
from foundation.tests.factories import staff_member
from payments import points_grants


def granter(**columns) -> User:
    rights = ["payments.add_transfer", "shop.view_approval", "shop.change_approval"]
    return staff_member(*rights, **columns)


def asked_for(asker: User, to: User, amount=5_000_000, reason="late delivery", key="ask"):
    wanted = {"user_id": to.pk, "amount": amount, "reason": reason, "keyed": keyed(asker, key)}
    return as_operator(asker, lambda: points_grants.ask_to_grant(**wanted))
