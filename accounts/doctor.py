"""The doctor's checks of accounts: one-time codes of staff, and passwords that are published."""

from collections.abc import Iterator

from django.conf import settings
from django.db import Error

from accounts import demo_accounts
from accounts.signing_in import second_factor
from foundation.operations.doctor.findings import Finding, judge


def examine() -> Iterator[Finding]:
    try:
        staff, enrolled = second_factor.count_staff()
        known = f"{enrolled} of {staff} staff accounts have set up one-time codes"
    except Error:
        known = "how many accounts have set up one-time codes is unknown"
    found = f"{'on' if settings.STAFF_OTP_REQUIRED else 'off'}; {known}"
    yield judge("STAFF_OTP_REQUIRED", found, not (settings.STAFF_OTP_REQUIRED or settings.DEBUG))
    yield from demo()


def demo() -> list[Finding]:
    """Demo accounts with published passwords; none while the database is unreachable."""
    try:
        accounts = demo_accounts.with_published_password()
    except Error:
        return []
    superusers = [account.username for account in accounts if account.is_superuser]
    if superusers and not settings.IS_MAKE_RUN:
        return [judge("demo accounts", f"superusers: {', '.join(superusers)}", True, "demo superusers")]
    names = ", ".join(account.username for account in accounts)
    return [judge("demo accounts", names or "none with a published password", bool(names))]
