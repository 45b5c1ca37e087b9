"""Accounts: registering, whether a password is right, disabling."""

from collections.abc import Callable, Collection, Container, Mapping
from typing import Any

from django.contrib import auth
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import User
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import IntegrityError

from shop.accounts import password_hashing
from shop.accounts.password_hashing import TrustLevel
from shop.db import transactions
from shop.db.stuck_rows import Row
from shop.errors import Invalid, NotAuthenticated, invalid_field
from shop.events import journal


class InvalidCredentials(NotAuthenticated):
    """Name and password don't fit an account that may sign in; which of them is wrong is not told."""

    code = "invalid_credentials"
    title = "Wrong name or password"

    def __init__(self) -> None:
        super().__init__("No account has this username and password.")


def register(*, username: str, email: str, password: str, network: str) -> User:
    """Make an account, for somebody from this network.

    Raises `Invalid` with every wrong field, or with the code `taken` when the name is somebody's: the
    unique constraint decides, so of two requests at once one succeeds. Raises `Overloaded` while too many
    passwords are hashed.
    """
    given = {
        "username": User.normalize_username(username),
        "email": User.objects.normalize_email(email),
    }
    _validate_registration(User(**given), password)
    with password_hashing.acquire_slot(network):
        password_hash = make_password(password)
    try:
        return transactions.run(
            lambda: User.objects.create(**given, password=password_hash), transactions.ONCE
        )
    except IntegrityError:
        raise invalid_field("username", "taken", "Somebody else has this username.") from None


def authenticate(
    *, username: str, password: str, network: str, trust_level: Callable[[], TrustLevel]
) -> User:
    """The active account of this name and password; `standing` is asked only where many wait.

    Takes as long for an unknown name: Django hashes the password all the same. Raises
    `InvalidCredentials`, and `Overloaded` while too many passwords are hashed.
    """
    with password_hashing.acquire_slot(network, trust_level):
        user = auth.authenticate(username=User.normalize_username(username), password=password)
    if not isinstance(user, User):
        raise InvalidCredentials
    return user


def check_password(account: User, password: str) -> None:
    """Raise `InvalidCredentials` when one who is signed in gave a wrong password; or `Overloaded`."""
    with password_hashing.acquire_slot(journal_subject(account.pk), lambda: TrustLevel.OPERATOR):
        if not account.check_password(password):
            raise InvalidCredentials


def disable(*, account_ids: Collection[int], keeping: Container[int | None]) -> int:
    """Disable these accounts, but for those to be kept; their tokens die within five seconds.

    Returns how many were active until now.
    """
    chosen = User.objects.filter(pk__in=[id for id in account_ids if id not in keeping], is_active=True)

    def disabled() -> int:
        ids = list(chosen.select_for_update().order_by("pk").values_list("pk", flat=True))
        User.objects.filter(pk__in=ids).update(is_active=False)
        for id in ids:
            note_change("changed", id, before={"is_active": True}, after={"is_active": False})
        return len(ids)

    return transactions.run(disabled, transactions.ONCE)


def note_change(
    what: str, account_id: int, *, before: Mapping[str, Any] | None = None, after: Mapping[str, Any]
) -> None:
    """Note in the journal what was done to an account, in the transaction that does it."""
    journal.note(
        what=f"account.{what}",
        subject=journal_subject(account_id),
        before=before,
        after=after,
        is_internal=True,
    )


def find_id_by_username(username: str) -> int | None:
    """The account of this name, however it is spelt; None for an unknown name."""
    name = User.normalize_username(username)
    return User.objects.filter(username=name).values_list("pk", flat=True).first()


def is_staff(account_id: int) -> bool:
    return User.objects.filter(pk=account_id, is_staff=True).exists()


def journal_subject(account_id: int) -> str:
    """The account as the subject of a journal line."""
    return f"account {account_id}"


def _validate_registration(user: User, password: str) -> None:
    errors = [
        *_field_errors("username", lambda: User.username_validator(user.username)),
        *_field_errors("email", lambda: validate_email(user.email)),
        *_field_errors("password", lambda: validate_password(password, user)),
    ]
    if errors:
        raise Invalid("The account can't be made like this.", errors=errors)


def _field_errors(field: str, check: Callable[[], None]) -> list[dict[str, str]]:
    """One entry for each thing that Django's validators find wrong."""
    try:
        check()
    except ValidationError as error:
        return [
            {"field": field, "code": one.code or "invalid", "detail": " ".join(one.messages)}
            for one in error.error_list
        ]
    return []


def referenced_row(account_id: int) -> Row:
    """The account's row, which every row that refers to it waits for when it is inserted."""
    return Row(User, account_id, is_shared=True)
