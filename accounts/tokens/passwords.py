"""Changing an account's own password, which ends its other sign-ins."""

from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import User
from django.contrib.auth.password_validation import validate_password

from accounts import accounts
from accounts.signing_in import sign_ins
from accounts.tokens import sign_outs, token_pairs
from foundation.db import transactions
from foundation.db.rows import save_changes
from foundation.errors import Invalid, invalid_field
from foundation.lazy_texts import mark
from foundation.normalization import normalized


def change(*, account: User, current: str, new: str, address: str, family: str) -> None:
    """Give the account a new password, and end its sign-ins but that of this family. Durable on return.

    Raises `Invalid` (`wrong` at `current`; Django's validators at `new`) and `Throttled`. Of two changes at
    once one succeeds. It hashes: requests call it by `sign_ins.run_sign_in`.
    """
    try:
        sign_ins.check_own_password(account=account, password=current, address=address)
    except accounts.InvalidCredentials:
        raise _wrong() from None
    if errors := accounts.field_errors("new", lambda: validate_password(normalized(new), account)):
        raise Invalid(mark("The password is not valid."), errors=errors)
    checked = account.password
    password_hash = make_password(new)

    def changed() -> None:
        locked = accounts.lock(account.pk)
        if locked.password != checked:
            raise _wrong()
        save_changes(locked, password=password_hash)
        fingerprint = token_pairs.password_fingerprint(locked)
        sign_outs.end_tokens(locked, kept_family=family, kept_credential=fingerprint)
        accounts.note_change("password_changed", account.pk, after={"address": address})

    transactions.run(changed, transactions.ONCE)


def _wrong() -> Invalid:
    return invalid_field("current", "wrong", mark("This is not the account's password."))
