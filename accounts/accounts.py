"""Accounts: registration, password checks, disabling, and finding them."""

import unicodedata
from collections.abc import Callable, Collection
from datetime import datetime
from functools import partial

from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import User
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import IntegrityError
from django.utils.functional import lazy

from foundation import journal, literals
from foundation.db import transactions
from foundation.db.stuck_rows import Row
from foundation.errors import Invalid, NotAllowed, NotAuthenticated, invalid_field, required
from foundation.lazy_texts import Text, mark
from foundation.models import JournalLine
from foundation.normalization import normalized, spellings
from foundation.values import GivenValues

ERASED_PREFIX = "erased-"
"""How the usernames of erased accounts begin: no other account may take one."""
EXTERNAL_PREFIX = "oidc-"
"""How the usernames begin of accounts whose provider names none that is free."""
TAKEN = mark("This username is taken.")


class InvalidCredentials(NotAuthenticated):
    """The name and password match no active account; the error does not say which of them is wrong."""

    code = "invalid_credentials"

    def __init__(self) -> None:
        super().__init__(mark("No account has this username and password."))


class RegistrationOff(NotAllowed):
    """Buyers have their accounts at the identity provider alone: `REGISTRATION=off`."""

    code = "registration_off"


def require_registration() -> None:
    """Raise `RegistrationOff` if buyers neither register nor sign in here."""
    if not settings.REGISTRATION:
        raise RegistrationOff(mark("This shop's customers sign in at its identity provider."))


def register(*, username: str, email: str, password: str) -> User:
    """Create an account.

    Raises `Invalid` with an entry for each wrong field, with the code `taken` if the username exists: the
    unique constraint decides, so one of two concurrent requests succeeds.
    """
    account = valid_account(username=username, email=email, password=password)
    insert(partial(account.save, force_insert=True))
    return account


def insert(save: Callable[[], None]) -> None:
    """Save a new account, durably. Raises `Invalid` with the code `taken` if the username exists."""
    try:
        transactions.run_or_savepoint(save, transactions.ONCE)
    except IntegrityError:
        raise invalid_field("username", "taken", TAKEN) from None


def valid_account(*, username: str, email: str, password: str) -> User:
    """An account that is not saved. Raises `Invalid` with an entry for each wrong field."""
    password = normalized(password)
    user = User(username=User.normalize_username(username), email=User.objects.normalize_email(email))
    errors = [
        *field_errors("username", lambda: User.username_validator(user.username)),
        *([{"field": "username", "code": "taken", "detail": TAKEN}] if is_reserved(user.username) else []),
        *field_errors("email", lambda: check_email(user.email)),
        *field_errors("password", lambda: validate_password(password, user)),
    ]
    if errors:
        raise Invalid(mark("The account is not valid."), errors=errors)
    user.password = make_password(password)
    return user


def check_email(address: str) -> None:
    """Raise `ValidationError` for what no account may have as its address."""
    # A blank refuses quoted names, which may have commas and signs of HTML.
    validate_email(address.replace('"', " "))


def is_reserved(username: str) -> bool:
    """Whether nobody may choose this name, because the shop gives names like it. MySQL takes letters with and
    without accents for equal.
    """
    letters = [one for one in unicodedata.normalize("NFKD", username) if not unicodedata.combining(one)]
    return "".join(letters).casefold().startswith((ERASED_PREFIX, EXTERNAL_PREFIX))


def authenticate(account: User | None, *, password: str) -> User:
    """Return the account if it is active and has this password, as Django's own backend does. Raises
    `InvalidCredentials`; no account takes as long as one with another password.
    """
    if account is None:
        make_password(password)
    elif account.check_password(password) and account.is_active:
        return account
    raise InvalidCredentials


def set_active(*, account_ids: Collection[int], is_active: bool, reason: str = "") -> int:
    """Enable or disable these accounts: within five seconds their tokens are refused. `sign_outs.enable` ends
    the tokens of an account that it enables. Returns how many accounts were changed.
    """
    chosen = User.objects.filter(pk__in=account_ids, is_active=not is_active)

    def changed() -> int:
        ids = list(chosen.select_for_update().order_by("pk").values_list("pk", flat=True))
        User.objects.filter(pk__in=ids).update(is_active=is_active)
        before = {"is_active": not is_active}
        after = {"is_active": is_active}
        for id in ids:
            note_change("changed", id, before=before, after=after, detail=reason)
        return len(ids)

    return transactions.run_or_savepoint(changed, transactions.ONCE)


disable = partial(set_active, is_active=False)


def lock(account_id: int) -> User:
    """The account, its row locked. Raises `NotFound`."""
    found = User.objects.select_for_update().filter(pk=account_id).first()
    return required(found, mark("There is no account {account_id}.", account_id=account_id))


def disabled_at(account: User) -> datetime | None:
    """When the account was disabled, as the journal says, or else when it was made; None: it is enabled."""
    if account.is_active:
        return None
    lines = JournalLine.objects.filter(subject=journal_subject(account.pk), what="account.changed")
    for line in lines.order_by("-id").iterator():
        if (line.after or {}).get("is_active") is False:
            return line.at
    return account.date_joined


def note_change(
    what: str, account_id: int, *, before: journal.Facts = None, after: GivenValues, detail: str = ""
) -> None:
    """Record a change of an account in the journal, inside the transaction that makes the change."""
    journal.note(
        what=f"account.{what}",
        subject=journal_subject(account_id),
        before=before,
        after=after,
        detail=detail,
        is_internal=True,
    )


def find_by_username(username: str) -> User | None:
    """Return the account with this name in any Unicode spelling, or None if there is none."""
    return User.objects.filter(username=User.normalize_username(username)).first()


def find_ids(term: str, *, most: int) -> set[int]:
    """The accounts that an operator's term finds, so many of each kind, each by an index: by the beginning of
    a name or an e-mail address, or by number.
    """
    # Together in one condition they would have the database read all accounts.
    searches = [
        User.objects.filter(**{f"{column}__istartswith": spelling}).order_by(column)
        for spelling in spellings(term)
        for column in ("username", "email")
    ]
    searches.append(User.objects.filter(external_identity__external_id=term))
    if number := literals.row_number(term):
        searches.append(User.objects.filter(pk=number))
    return {pk for found in searches for pk in found.values_list("pk", flat=True)[:most]}


def journal_subject(account_id: int) -> str:
    """The account as the subject of a journal line."""
    return f"account {account_id}"


def field_errors(field: str, check: Callable[[], None]) -> list[dict[str, Text]]:
    """Return one entry for each error that Django's validators find."""

    def errors() -> list[ValidationError]:
        try:
            check()
        except ValidationError as error:
            return error.error_list
        return []

    # Checked again, because some of Django's validators put their message together when they raise it.
    message = lazy(lambda number: " ".join(errors()[number].messages), str)
    return [
        {"field": field, "code": error.code or "invalid", "detail": message(number)}
        for number, error in enumerate(errors())
    ]


def referenced_row(account_id: int) -> Row:
    """The account's row, which an insert of a row with a foreign key to it locks in shared mode."""
    return Row(User, account_id, is_shared=True)
