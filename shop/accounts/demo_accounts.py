"""The demo's own accounts, whose passwords stand in the documentation."""

from django.contrib.auth.models import User

BUYER, BUYER_PASSWORD = "demo", "demo-pass-2026"
STAFF, STAFF_PASSWORD = "staff", "staff-pass-2026"


def open_to_anybody() -> list[str]:
    """Those of them that are there, active, and still have the password that everybody knows."""
    return [user.username for user in _open()]


def superusers_open_to_anybody() -> list[str]:
    """Those of these that may do anything."""
    return [user.username for user in _open() if user.is_superuser]


def _open() -> list[User]:
    passwords = {BUYER: BUYER_PASSWORD, STAFF: STAFF_PASSWORD}
    users = User.objects.filter(username__in=passwords, is_active=True).order_by("username")
    return [user for user in users if user.check_password(passwords[user.username])]
