"""Signs an account out everywhere: refuses its tokens and ends its sessions, without disabling it.

Unused refresh tokens are stored nowhere, so the account's row in `shop.models.SignOut` has the instant: every
token issued until then is refused. Refreshing one locks the account's row, as this does, so that no successor
of a token is issued later. Access tokens are refused once each process has read the row again
(`shop.accounts.disabled_accounts`).
"""

from django.contrib.auth import SESSION_KEY
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session

from shop import clock
from shop.accounts import accounts
from shop.db import transactions
from shop.errors import NotFound
from shop.lazy_texts import mark as _
from shop.models import SignOut

SIGNED_OUT = "signed_out_everywhere"


def sign_out_everywhere(*, account_id: int, reason: str) -> SignOut:
    """Refuse all tokens issued to the account until now, and end its sessions on operators' pages.

    Refresh tokens are refused at once, access tokens within five seconds. The account may sign in again; as
    tokens say the second of their issue, one issued later in this second is refused too. Durable when it
    returns, unless the caller has a transaction open. Raises `NotFound`.
    """

    def signed_out() -> SignOut:
        user = User.objects.select_for_update().filter(pk=account_id).first()
        if user is None:
            raise NotFound(_("There is no account {account_id}.", account_id=account_id))
        # Read with the row locked: after every token that a concurrent refresh has issued.
        done = SignOut(account=user, at=clock.now())
        done.save()
        sessions_ended = _end_sessions(account_id)
        accounts.note_change(
            SIGNED_OUT,
            account_id,
            after={"signed_out_at": done.at.isoformat(), "sessions_ended": sessions_ended},
            detail=reason,
        )
        return done

    return transactions.run_or_savepoint(signed_out, transactions.ONCE)


def last_sign_out(account_id: int) -> SignOut | None:
    """When the account was signed out everywhere last, if ever."""
    return SignOut.objects.filter(pk=account_id).first()


def _end_sessions(account_id: int) -> int:
    """Delete the account's sessions. Only operators sign in by sessions, so there are few to look through."""
    sessions = Session.objects.filter(expire_date__gt=clock.now())
    own = [
        session.pk
        for session in sessions.iterator()
        if session.get_decoded().get(SESSION_KEY) == str(account_id)
    ]
    Session.objects.filter(pk__in=own).delete()
    return len(own)
