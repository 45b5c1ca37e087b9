"""Sign-in by name and password: throttled, hashing few passwords at once, recorded in the journal.

Attempts are limited tightly by address and by name and address together, before they wait for their turn, and
loosely by name alone: ten wrong passwords from elsewhere must not lock an account's owner out. Addresses that
signed in to the account recently are admitted past the loose limit, and have turns of their own.

The one-time code of staff (`second_factor`) is looked at after the password, so that it reveals nothing to a
client without the password. One with it could make the account wait again and again, so addresses that signed
in recently have their own limit of codes.
"""

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import NamedTuple, TypeVar

from django.contrib.auth.models import User
from prometheus_client import Counter

from accounts import accounts
from accounts.signing_in import password_hashing, second_factor
from foundation import clock, journal
from foundation.concurrency.event_loop import run_in_thread
from foundation.db import transactions
from foundation.errors import Overloaded, Throttled
from foundation.models import JournalLine
from foundation.rates import throttling

Outcome = TypeVar("Outcome")
ATTEMPTS_BY_NAME_AND_ADDRESS = throttling.Limit("sign-ins-of-name-from-address", times=10, seconds=60)
ATTEMPTS_BY_ADDRESS = throttling.Limit("sign-ins-from-address", times=60, seconds=60)
ATTEMPTS_BY_NAME = throttling.Limit("sign-ins-of-name-from-anywhere", times=100, seconds=60)
# Codes during the wait after wrong ones, from where the account signed in recently: not many more than the
# wait itself allows.
CODES_FROM_KNOWN_NETWORK = throttling.Limit("codes-of-account-from-known-address", times=10, seconds=900)
CODES_OF_A_DAY = throttling.Limit("codes-of-account-from-known-address-in-a-day", times=60, seconds=86_400)
OWN_PASSWORD_CHECKS = throttling.Limit("own-password-of-account", times=10, seconds=60)
# Any client may fail to sign in: past these limits a failure is only counted, without a journal line.
NOTED_FAILURES_BY_NAME = throttling.Limit("failures-noted-of-name", times=20, seconds=3600)
NOTED_FAILURES_BY_ADDRESS = throttling.Limit("failures-noted-from-address", times=20, seconds=3600)
NOTED_FAILURES_IN_TOTAL = throttling.Limit("failures-noted", times=600, seconds=3600)
OLD_PASSWORD_WRONG = "account.old_password_wrong"  # noqa: S105 - an event
OTP_MISSING = "account.otp_missing"
OTP_WRONG = "account.otp_wrong"
RECENT_PERIOD = timedelta(days=30)
SIGNED_IN = "account.signed_in"
FAILED = "account.sign_in_failed"
MAX_EARLIER_SIGN_INS = 50
SIGN_INS = Counter(
    "firstcome_sign_ins",
    "Attempts to sign in: signed_in, failed, throttled, overloaded, otp_required, otp_invalid.",
    ["result"],
)
REFUSALS: dict[type[Exception], tuple[str, str]] = {
    Throttled: ("throttled", ""),
    second_factor.OtpNotChecked: ("throttled", "account.otp_not_checked"),
    accounts.InvalidCredentials: ("failed", FAILED),
    accounts.RegistrationOff: ("failed", ""),
    second_factor.OtpRequired: ("otp_required", OTP_MISSING),
    second_factor.EnrolmentRequired: ("otp_required", OTP_MISSING),
    second_factor.OtpInvalid: ("otp_invalid", OTP_WRONG),
}
"""The result that each refusal counts as, and what the journal has of it, if anything."""

_unnoted_failures = 0


class SignIn(NamedTuple):
    """An account that signed in; `verified` is what its one-time code was, None if it needed none."""

    account: User
    verified: second_factor.Verified | None


async def run_sign_in(function: Callable[[], Outcome], *, username: str, address: str) -> Outcome:
    """Call a function that calls `sign_in`, in a thread for hashing, once it is the client's turn.

    The attempt is counted before it waits. Raises what `count_attempt`, the function and
    `password_hashing.run_in_turn` raise.
    """
    network = throttling.network_of_address(address)
    trust_level = partial(run_in_thread, _trust_level, username, network, group="sign-ins")
    await run_in_thread(count_attempt, username, address, group="sign-ins")
    try:
        return await password_hashing.run_in_turn(function, address=address, trust_level=trust_level)
    except Overloaded:
        SIGN_INS.labels("overloaded").inc()
        raise


def count_attempt(username: str, address: str) -> None:
    """Count an attempt to sign in, by name and address and by address, or by neither. Raises `Throttled`."""
    network = throttling.network_of_address(address)
    name = _username_key(accounts.find_by_username(username), username)
    attempt = [(ATTEMPTS_BY_NAME_AND_ADDRESS, f"{name} from {network}"), (ATTEMPTS_BY_ADDRESS, network)]
    try:
        throttling.count_attempt(attempt)
    except Throttled:
        SIGN_INS.labels("throttled").inc()
        raise


def sign_in(
    *, username: str, password: str, address: str, otp: str | None = None, is_operator: bool = False
) -> SignIn:
    """Sign in to the active account with this name and password; with `is_operator`, only a member of staff.

    The journal line is durable when it returns. Raises `Throttled` and `InvalidCredentials`; if the password
    is right, `RegistrationOff` and what `second_factor.verify` raises. It hashes: requests call it by
    `run_sign_in`.
    """
    account = accounts.find_by_username(username)
    network = throttling.network_of_address(address)
    name = _username_key(account, username)
    try:
        try:
            throttling.count_attempt([(ATTEMPTS_BY_NAME, name)])
        except Throttled:
            if account is None or not _has_recent_sign_in(account.pk, network):
                raise
        user = accounts.authenticate(account, password=password)
        if is_operator and not user.is_staff:
            raise accounts.InvalidCredentials
        if not user.is_staff:
            accounts.require_registration()
        verified = second_factor.verify(
            account=user, code=otp, passes_wait=lambda: _passes_wait(user.pk, network)
        )
    except tuple(REFUSALS) as refusal:
        result, what = REFUSALS[type(refusal)]
        SIGN_INS.labels(result).inc()
        if what:
            _note_failure(what, name, account, address)
        raise
    _note_success(user, address, verified.method if verified else None)
    return SignIn(user, verified)


def enrol(*, account: User, secret: str, code: str, address: str) -> second_factor.Enrolled:
    """Sign in to a staff account, whose password was right, by setting up one-time codes. Raises what
    `second_factor.enrol` raises.
    """
    with journal.acting(_actor_of(account)):
        enrolled = second_factor.enrol(
            account_id=account.pk, secret=secret, code=code, after={"address": address}
        )
    _note_success(account, address, second_factor.Method.TOTP)
    return enrolled


def check_own_password(*, account: User, password: str, address: str) -> None:
    """Check that a signed-in operator knows the account's password, which a stolen session does not.

    Attempts are counted by account. Raises `Throttled` and `InvalidCredentials`.
    """
    subject = accounts.journal_subject(account.pk)
    throttling.count_attempt([(OWN_PASSWORD_CHECKS, subject)])
    if not account.check_password(password):
        _note_failure(OLD_PASSWORD_WRONG, subject, account, address, by=journal.current_actor())
        raise accounts.InvalidCredentials


def _username_key(account: User | None, username: str) -> str:
    """The canonical key of a username: the same for all spellings that the database treats as one account."""
    return f"name {username.casefold()}" if account is None else accounts.journal_subject(account.pk)


def _has_recent_sign_in(account_id: int, network: str) -> bool:
    """Whether one of the account's recent sign-ins in the journal came from this network."""
    lines = JournalLine.objects.filter(
        subject=accounts.journal_subject(account_id), what=SIGNED_IN, at__gte=clock.now() - RECENT_PERIOD
    )
    earlier = lines.order_by("-id").values_list("after", flat=True)[:MAX_EARLIER_SIGN_INS]
    return any(throttling.network_of_address(after["address"]) == network for after in earlier if after)


def _passes_wait(account_id: int, network: str) -> bool:
    """Whether a code from this network is checked although the account waits. Raises `Throttled`."""
    if not _has_recent_sign_in(account_id, network):
        return False
    subject = f"{accounts.journal_subject(account_id)} from {network}"
    throttling.count_attempt([(CODES_FROM_KNOWN_NETWORK, subject), (CODES_OF_A_DAY, subject)])
    return True


def _trust_level(username: str, network: str) -> password_hashing.TrustLevel:
    """How well the client is known, from the account's earlier sign-ins from this network. Operators with
    one-time codes are known everywhere: who names one is checked no more often than `ATTEMPTS_BY_NAME`.
    """
    account = accounts.find_by_username(username)
    # An unknown name is looked for as well: it takes as long as a known one.
    account_id = account.pk if account else 0
    has_codes = second_factor.device_id_of(account_id) is not None
    is_known = _has_recent_sign_in(account_id, network) or has_codes
    if not is_known or account is None:
        return password_hashing.TrustLevel.STRANGER
    return password_hashing.TrustLevel.OPERATOR if account.is_staff else password_hashing.TrustLevel.KNOWN


def _note_success(user: User, address: str, method: second_factor.Method | None) -> None:
    SIGN_INS.labels("signed_in").inc()
    second = {"second_factor": method.value} if method else {}
    _note(SIGNED_IN, accounts.journal_subject(user.pk), _actor_of(user), address=address, **second)


def _actor_of(user: User) -> journal.ActorContext:
    """The account as the actor of its own sign-in."""
    actor = journal.Actor.STAFF if user.is_staff else journal.Actor.ACCOUNT
    return journal.ActorContext(actor, user.pk, user.get_username(), journal.current_actor().request_id)


def _note_failure(
    what: str, name: str, account: User | None, address: str, *, by: journal.ActorContext | None = None
) -> None:
    """Record the failure in the journal, or only count it: the next line says how many are missing.

    An unknown name is not recorded, because people type their password there.
    """
    global _unnoted_failures
    network = throttling.network_of_address(address)
    by_name = (NOTED_FAILURES_BY_NAME, name)
    by_address = (NOTED_FAILURES_BY_ADDRESS, network)
    try:
        throttling.count_attempt([by_name, by_address, (NOTED_FAILURES_IN_TOTAL, "all")])
    except Throttled:
        _unnoted_failures += 1
        return
    unnoted = _unnoted_failures
    _unnoted_failures = 0
    about = "account unknown" if account is None else accounts.journal_subject(account.pk)
    by = by or journal.ActorContext(journal.Actor.ANON, request_id=journal.current_actor().request_id)
    _note(what, about, by, address=address, failures_without_a_line=unnoted)


def _note(what: str, about: str, by: journal.ActorContext, *, address: str, **after: int | str) -> None:
    """Record it; `detail` repeats the address as text for the journal's list."""
    known = {"address": address, **after}
    note = partial(journal.note, what=what, subject=about, after=known, detail=f"from {address}", by=by)
    transactions.run(partial(note, is_internal=True), transactions.ONCE)
