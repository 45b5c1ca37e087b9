"""Accounts: registering, and signing in by name and password."""

from collections.abc import Callable, Collection, Container, Iterable

from django.contrib.auth import authenticate
from django.contrib.auth.models import User
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import IntegrityError

from shop import rows, transactions
from shop.errors import Invalid, NotAuthenticated, invalid_field


class InvalidCredentials(NotAuthenticated):
    """Name and password don't fit an account that may sign in; which of them is wrong is not told."""

    code = "invalid_credentials"
    title = "Wrong name or password"

    def __init__(self) -> None:
        super().__init__("No account has this username and password.")


def register(*, username: str, email: str, password: str) -> User:
    """Make an account.

    Raises `Invalid` with every wrong field, or with the code `taken` when the name is somebody's: the
    unique constraint decides, so of two who ask at once one gets it.
    """
    username = User.normalize_username(username)
    user = User(username=username, email=User.objects.normalize_email(email))
    _check(user, password)
    user.set_password(password)
    try:
        transactions.run(lambda: user.save(force_insert=True))
    except IntegrityError:
        raise invalid_field("username", "taken", "Somebody else has this username.") from None
    return user


def sign_in(*, username: str, password: str) -> User:
    """The active account of this name and password. Raises `InvalidCredentials`.

    Takes as long for a name that nobody has: Django hashes the password all the same.
    """
    user = authenticate(username=User.normalize_username(username), password=password)
    if not isinstance(user, User):
        raise InvalidCredentials
    return user


def disable(*, account_ids: Collection[int], keeping: Container[int | None]) -> int:
    """Disable these accounts, but for those to be kept; their tokens die within five seconds.

    Returns how many were active until now.
    """
    ids = [id for id in account_ids if id not in keeping]
    chosen = User.objects.filter(pk__in=ids, is_active=True)
    return transactions.run(lambda: chosen.update(is_active=False))


def known_as(username: str) -> str:
    """One word for all spellings of a name that the database takes for the same account."""
    name = User.normalize_username(username)
    account_id = User.objects.filter(username=name).values_list("pk", flat=True).first()
    return str(account_id) if account_id else name.casefold()


def _check(user: User, password: str) -> None:
    errors = [
        *_errors("username", lambda: User.username_validator(user.username)),
        *_errors("email", lambda: validate_email(user.email)),
        *_errors("password", lambda: validate_password(password, user)),
    ]
    if errors:
        raise Invalid("The account can't be made like this.", errors=errors)


def _errors(field: str, check: Callable[[], None]) -> list[dict[str, str]]:
    """One entry for each thing that Django's validators find wrong."""
    try:
        check()
    except ValidationError as error:
        return [
            {"field": field, "code": one.code or "invalid", "detail": " ".join(one.messages)}
            for one in error.error_list
        ]
    return []


def locked(account_ids: Iterable[int]) -> set[int]:
    """Those of these accounts that another transaction is changing just now; call it outside any.

    Every row that refers to an account waits for it when it is inserted.
    """
    return rows.locked(User, set(account_ids), shared=True)
