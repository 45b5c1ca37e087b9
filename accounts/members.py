"""Members of staff: accounts with groups, which superusers add."""

from collections.abc import Collection
from typing import NamedTuple

from django.contrib.auth.models import Group, User
from django.utils.crypto import get_random_string

from accounts import accounts

PASSWORD_LENGTH = 20


class NewMember(NamedTuple):
    """A member and the first password, which is kept as a hash alone."""

    account: User
    password: str


def create(*, username: str, email: str, groups: Collection[Group], reason: str = "") -> NewMember:
    """Add a member of staff to these groups; the journal says so. Durable when it returns.

    Raises `Invalid` with an entry for each wrong field, with the code `taken` if the username exists.
    """
    password = get_random_string(PASSWORD_LENGTH)
    account = accounts.valid_account(username=username, email=email, password=password)
    account.is_staff = True

    def created() -> None:
        account.save(force_insert=True)
        account.groups.set(groups)
        after = {
            "username": account.username,
            "email": account.email,
            "is_staff": True,
            "groups": sorted(group.name for group in groups),
        }
        accounts.note_change("created", account.pk, after=after, detail=reason)

    accounts.insert(created)
    return NewMember(account, password)
