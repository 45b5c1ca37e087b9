"""The second factor of staff: one-time codes by an authenticator app (TOTP), and backup codes.

The tables and the algorithm are django-otp's. Verifying is our own: by the clock that all processes share,
and under a lock on the device's row, so that a code is accepted once, whichever processes check it.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from enum import Enum
from typing import NamedTuple

from django.conf import settings
from django.contrib.auth.models import AnonymousUser, User
from django.contrib.sessions.backends.base import SessionBase
from django.db.models import Count, OuterRef, Subquery
from django.db.models.functions import Coalesce
from django.utils.crypto import get_random_string
from django_otp.oath import TOTP
from django_otp.plugins.otp_static.models import StaticDevice, StaticToken
from django_otp.plugins.otp_totp.models import TOTPDevice

from accounts import accounts
from foundation import clock
from foundation.db import transactions
from foundation.errors import NotAuthenticated, Rejected, Throttled
from foundation.lazy_texts import Text, mark
from foundation.values import GivenValues

SESSION_KEY = "second_factor_device"
"""Where a session on the operators' pages keeps the device that its sign-in was verified with."""

DEVICE_NAME = "authenticator"
BACKUP_NAME = "backup codes"
BACKUP_CODES = 10
BACKUP_CODE_LENGTH = 10
# Without characters that are easily confused.
BACKUP_CODE_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"
# A longer wait would lock the owner out for days after some wrong codes.
LONGEST_WAIT = timedelta(minutes=15)
NO_WAIT = timedelta(0)


class OtpRequired(NotAuthenticated):
    """The password is right, and the account needs a one-time code, which the sign-in lacks."""

    code = "otp_required"

    def __init__(self, detail: Text = "") -> None:
        super().__init__(
            detail or mark("This account needs a one-time code, from its authenticator app or a backup code.")
        )


class EnrolmentRequired(OtpRequired):
    """The password is right, and the account has to set up one-time codes first."""

    def __init__(self, account: User) -> None:
        super().__init__(
            mark(
                "This account has to set up one-time codes first: sign in at /admin/ by its password, and "
                "follow the page there."
            )
        )
        self.account = account


class OtpInvalid(NotAuthenticated):
    """The password is right, and the one-time code is wrong, too old, or was used already."""

    code = "otp_invalid"

    def __init__(self) -> None:
        super().__init__(
            mark("The one-time code is wrong, too old, or was used already; wait for the next one.")
        )


class OtpNotChecked(Throttled):
    """The password is right, and the one-time code was not looked at, because others were wrong before."""


class Method(Enum):
    """What a sign-in was verified with."""

    TOTP = "totp"
    BACKUP_CODE = "backup_code"


class Verified(NamedTuple):
    """A one-time code that was accepted; `device_id` identifies the set-up it belongs to."""

    device_id: int
    method: Method
    backup_codes_left: int


class Enrolled(NamedTuple):
    """A new set-up, with its backup codes, which are shown once."""

    device_id: int
    backup_codes: tuple[str, ...]


def verify(
    *, account: User, code: str | None, passes_wait: Callable[[], bool] = lambda: False
) -> Verified | None:
    """Use up a one-time code of a staff account whose password was right; None if it needs no code.

    Of any number of uses of a code, in any processes, one succeeds. Raises `OtpRequired` without a code,
    `EnrolmentRequired` if the account has not set codes up, `OtpInvalid`, and `OtpNotChecked` for a while
    after each wrong code, twice as long each time, unless `passes_wait` says that this attempt has a limit of
    its own.
    """
    if not account.is_staff:
        return None
    device_id = device_id_of(account.pk)
    if device_id is None:
        if settings.STAFF_OTP_REQUIRED:
            raise EnrolmentRequired(account)
        return None
    if not code:
        raise OtpRequired
    given = _normalized(code)
    result = transactions.run(lambda: _use_code(device_id, given), transactions.ONCE)
    if isinstance(result, timedelta) and result and passes_wait():
        result = transactions.run(lambda: _use_code(device_id, given, is_waiting=False), transactions.ONCE)
    if isinstance(result, Verified):
        return result
    if result:
        seconds = -(-result // timedelta(seconds=1))
        raise OtpNotChecked(mark("Too many wrong one-time codes; wait a while."), retry_after=max(1, seconds))
    raise OtpInvalid


def enrol(*, account_id: int, secret: str, code: str, after: GivenValues) -> Enrolled:
    """Set up one-time codes for a staff account, confirmed by the app's first code, which is used up by that.

    `after` is added to the line in the journal. Raises `OtpInvalid`, `Rejected` `already_enrolled`, and
    `InvalidCredentials` if the account is not active staff any more.
    """

    def enrolled() -> Enrolled:
        # The account's lock keeps two enrolments apart.
        staff = User.objects.select_for_update().filter(pk=account_id, is_active=True, is_staff=True)
        if staff.first() is None:
            raise accounts.InvalidCredentials
        if device_id_of(account_id) is not None:
            text = mark("This account has set up one-time codes already: sign in with a code.")
            raise Rejected(text, code="already_enrolled")
        device = TOTPDevice(user_id=account_id, name=DEVICE_NAME, key=secret, confirmed=True)
        if not _accept_totp(device, _normalized(code), clock.now()):
            raise OtpInvalid
        device.save()
        codes = tuple(
            get_random_string(BACKUP_CODE_LENGTH, BACKUP_CODE_ALPHABET) for _ in range(BACKUP_CODES)
        )
        backup = StaticDevice.objects.create(user_id=account_id, name=BACKUP_NAME)
        StaticToken.objects.bulk_create(StaticToken(device=backup, token=code) for code in codes)
        accounts.note_change("otp_enrolled", account_id, after={"backup_codes": len(codes), **after})
        return Enrolled(device.pk, codes)

    return transactions.run(enrolled, transactions.ONCE)


def reset(*, account_id: int, reason: str) -> bool:
    """Remove the account's one-time codes, which ends its sessions and refresh tokens. Returns whether it had
    any.
    """

    def removed() -> bool:
        User.objects.select_for_update().filter(pk=account_id).first()
        gone, _ = TOTPDevice.objects.filter(user_id=account_id).delete()
        StaticDevice.objects.filter(user_id=account_id).delete()
        if gone:
            accounts.note_change(
                "otp_reset",
                account_id,
                before={"is_enrolled": True},
                after={"is_enrolled": False, "reason": reason},
                detail=reason,
            )
        return bool(gone)

    return transactions.run(removed, transactions.ONCE)


def device_id_of(account_id: int) -> int | None:
    """The account's confirmed device; None if it has not set up one-time codes."""
    devices = TOTPDevice.objects.filter(user_id=account_id, confirmed=True).order_by("pk")
    return devices.values_list("pk", flat=True).first()


def count_staff() -> tuple[int, int]:
    """How many active accounts are staff, and how many of these have set up one-time codes."""
    staff = User.objects.filter(is_staff=True, is_active=True)
    return staff.count(), staff.filter(totpdevice__confirmed=True).distinct().count()


def backup_codes_of(user_id: str) -> Coalesce:
    """How many backup codes the account has left whose id is in this field of a query's rows."""
    own = StaticToken.objects.filter(device__user_id=OuterRef(user_id)).order_by()
    return Coalesce(Subquery(own.values("device__user_id").annotate(number=Count("pk")).values("number")), 0)


def signed_in_user(user: User | AnonymousUser, session: SessionBase) -> User | AnonymousUser:
    """The session's account; anonymous if it is staff that needs a second factor which the session lacks.

    So a session from before codes were required, or from before they were reset, is not signed in any more.
    """
    is_passed = is_verified(user, lambda device_id: session.get(SESSION_KEY) == device_id)
    return user if is_passed else AnonymousUser()


def family_prefix(device_id: int | None) -> str:
    """How the ids of refresh token families begin that a sign-in with this device starts."""
    return "" if device_id is None else f"otp{device_id}-"


def is_verified(user: User | AnonymousUser, has_device: Callable[[int], bool]) -> bool:
    """Whether the account needs no second factor, or it was verified by the device that the account has."""
    device_id = device_id_of(user.pk) if user.is_staff else None
    if device_id is None:
        return not (user.is_staff and settings.STAFF_OTP_REQUIRED)
    return has_device(device_id)


def _use_code(device_id: int, code: str, *, is_waiting: bool = True) -> Verified | timedelta:
    """Check a code under the device's lock, and write down that it was used, or that it was wrong. Returns
    for how long no code is looked at; 0 for a wrong one.

    With `is_waiting` false it is checked during the wait as well, which it neither prolongs nor ends.
    """
    device = TOTPDevice.objects.select_for_update().filter(pk=device_id, confirmed=True).first()
    if device is None:
        return NO_WAIT
    now = clock.now()
    last = device.throttling_failure_timestamp
    if last is not None and last > now:
        # The clock was set back since. The wait counts from now, or it would last as long as that was ahead.
        last = device.throttling_failure_timestamp = now
        device.save(update_fields=["throttling_failure_timestamp"])
    wait = NO_WAIT
    failures = device.throttling_failure_count
    if failures and last is not None:
        # A second after a wrong code, and twice as long after each further one; a timedelta is bounded.
        longest = timedelta(seconds=device.get_throttle_factor() * 2 ** min(failures - 1, 20))
        wait = max(NO_WAIT, last + min(longest, LONGEST_WAIT) - now)
    if wait and is_waiting:
        return wait
    backup = StaticToken.objects.filter(device__user_id=device.user_id)
    if _accept_totp(device, code, now):
        method = Method.TOTP
    elif backup.filter(token=code).delete()[0]:
        method = Method.BACKUP_CODE
    else:
        if not wait:
            device.throttling_failure_count += 1
            device.throttling_failure_timestamp = now
            device.save(update_fields=["throttling_failure_count", "throttling_failure_timestamp"])
        return NO_WAIT
    if not wait:
        device.throttle_reset(commit=False)
    device.last_used_at = now
    device.save()
    return Verified(device.pk, method, backup.count())


def _accept_totp(device: TOTPDevice, code: str, now: datetime) -> bool:
    """Whether the code is the device's of now, or of a step before or after. It is used then."""
    if not (len(code) == device.digits and code.isascii() and code.isdigit()):
        return False
    totp = TOTP(device.bin_key, device.step, device.t0, device.digits)
    totp.time = now.timestamp()
    if not totp.verify(int(code), device.tolerance, device.last_t + 1):
        return False
    device.last_t = totp.t()
    return True


def _normalized(code: str) -> str:
    """The code without the spaces and hyphens that apps and people add, in lower case."""
    return code.replace(" ", "").replace("-", "").lower()
