"""The demo's accounts, whose passwords are published in the documentation."""

from django.contrib.auth.models import User

BUYER, BUYER_PASSWORD = "demo", "demo-pass-2026"
STAFF, STAFF_PASSWORD = "staff", "staff-pass-2026"


def with_published_password() -> list[User]:
    """The demo accounts that exist, are active, and still have the published password."""
    passwords = {BUYER: BUYER_PASSWORD, STAFF: STAFF_PASSWORD}
    users = User.objects.filter(username__in=passwords, is_active=True).order_by("username")
    return [user for user in users if user.check_password(passwords[user.username])]
