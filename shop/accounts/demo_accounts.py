"""The demo's accounts, whose passwords are published in the documentation."""

from django.contrib.auth.models import User

BUYER, BUYER_PASSWORD = "demo", "demo-pass-2026"
STAFF, STAFF_PASSWORD = "staff", "staff-pass-2026"


def accounts_with_published_password() -> list[str]:
    """The names of the demo accounts that exist, are active, and still have the published password."""
    return [user.username for user in _find_with_published_password()]


def superusers_with_published_password() -> list[str]:
    """Those of them that are superusers."""
    return [user.username for user in _find_with_published_password() if user.is_superuser]


def _find_with_published_password() -> list[User]:
    passwords = {BUYER: BUYER_PASSWORD, STAFF: STAFF_PASSWORD}
    users = User.objects.filter(username__in=passwords, is_active=True).order_by("username")
    return [user for user in users if user.check_password(passwords[user.username])]
