"""Signs an account out everywhere: its tokens, sessions and API keys end, without disabling it.

Every token names the sign-out after which it was issued, and those of an earlier one are refused: times of
issue could not say that where the clock is set back. Refreshing a token locks the account's row, as this
does, so that no successor of a token is issued later.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

from django.contrib.auth import SESSION_KEY
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.db.models import QuerySet

from accounts import accounts
from accounts.models import ApiKey, SignOut
from foundation import clock, journal
from foundation.db import key_walks, transactions
from foundation.db.rows import save_changes

SIGNED_OUT = "signed_out_everywhere"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def sign_out_everywhere(*, account_id: int, reason: str) -> SignOut:
    """Refuse all tokens issued to the account until now, end its sessions, and revoke the keys that it made.

    Refresh tokens are refused at once, keys within a second, access tokens within five seconds. Durable when
    it returns, unless the caller has a transaction open. Raises `NotFound`.
    """

    def signed_out() -> SignOut:
        user = accounts.lock(account_id)
        done = end_tokens(user)
        keys = ApiKey.objects.select_for_update().filter(maker=user, revoked_at=None).order_by("pk")
        for key in keys:
            revoke_key(key, reason=reason)
        after = {
            "signed_out_at": done.at.isoformat(),
            "sessions_ended": sessions_of(account_id).delete()[0],
            "api_keys_revoked": len(keys),
        }
        accounts.note_change(SIGNED_OUT, account_id, after=after, detail=reason)
        return done

    return transactions.run_or_savepoint(signed_out, transactions.ONCE)


def enable(*, account_id: int, reason: str = "") -> int:
    """Enable an account: its tokens and sessions from before stay ended, and its API keys work again.

    Durable on return. Returns how many accounts were changed: none, if it was enabled. Raises `NotFound`.
    """

    def enabled() -> int:
        user = accounts.lock(account_id)
        if not user.is_active:
            end_tokens(user)
            sessions_of(account_id).delete()
        return accounts.set_active(account_ids=[account_id], is_active=True, reason=reason)

    return transactions.run_or_savepoint(enabled, transactions.ONCE)


def end_tokens(user: User, *, kept_family: str = "", kept_credential: str = "") -> SignOut:
    """Refuse all tokens issued to this account, whose row is locked, until now; but not those of one family,
    as long as the account has this credential.
    """
    # Read with the row locked: after every token that a concurrent refresh has issued.
    before = last_sign_out(user.pk)
    now = clock.now()
    # Later than the one before, also after the clock was set back: that keeps the one before in force.
    at = now if before is None else max(now, before.at + timedelta(microseconds=1))
    done = SignOut(account=user, at=at, kept=mark_of(at, kept_family, kept_credential) if kept_family else "")
    done.save()
    return done


def mark_of(at: datetime, family: str, credential: str) -> str:
    """What a sign-out at this instant says of the family that it keeps; that of a later one differs."""
    return f"{number_of(at)} {family} {credential}"


def kept_family(done: SignOut) -> str:
    """The family whose tokens the sign-out did not end; empty if it ended all."""
    number, _, rest = done.kept.partition(" ")
    return rest.partition(" ")[0] if number == str(number_of(done.at)) else ""


def revoke_key(key: ApiKey, *, reason: str) -> None:
    """Revoke an API key whose row is locked, and delete its secrets. The journal has a line for each."""
    save_changes(key, revoked_at=clock.now())
    key.secrets.all().delete()
    note_key("revoked", key, detail=reason)


def note_key(
    what: str, key: ApiKey, *, after: Mapping[str, object] = MappingProxyType({}), detail: str
) -> None:
    """Record a change of an API key in the journal, inside the transaction that makes it."""
    journal.note(
        what=f"api_key.{what}",
        subject=f"api key {key.pk}",
        after={"prefix": key.prefix, "maker": key.maker_id, **after},
        detail=detail,
        is_internal=True,
    )


def last_sign_out(account_id: int) -> SignOut | None:
    """When the account was signed out everywhere last, if ever."""
    return SignOut.objects.filter(pk=account_id).first()


def last_sign_out_number(account_id: int) -> int:
    """The number of the account's last sign-out, which its new tokens have; 0 if there was none."""
    done = last_sign_out(account_id)
    return number_of(done.at) if done else 0


def number_of(at: datetime) -> int:
    """The number of the sign-out at this instant, in microseconds since the epoch: each is above the last."""
    return (at - EPOCH) // timedelta(microseconds=1)


def refuses(number: int, *, issued_after: int | None) -> bool:
    """Whether the sign-out with this number, 0 if there was none, refuses a token.

    `issued_after` is the number of the sign-out that the token was issued after; None if there was none.
    """
    return (issued_after or 0) < number


def delete_expired_sessions() -> int:
    """Delete operators' sessions that have expired, in small batches. Returns how many were deleted."""
    return key_walks.delete(Session.objects.filter(expire_date__lte=clock.now()))


def sessions_of(account_id: int) -> "QuerySet[Session]":
    """The account's sessions, which name it in their encoded data alone. Only operators have some: few."""
    every = Session.objects.iterator()
    own = [each.pk for each in every if each.get_decoded().get(SESSION_KEY) == str(account_id)]
    return Session.objects.filter(pk__in=own)
