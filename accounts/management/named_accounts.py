"""How a command names an account: by its username, or by `id:7`, which no username looks like."""

from django.contrib.auth.models import User
from django.core.management.base import CommandError

from accounts import accounts
from foundation import literals

HELP = "its username, or id:7 for the account with this number"


def find(name: str) -> User:
    if name.startswith("id:"):
        account = User.objects.filter(pk=literals.row_number(name.removeprefix("id:")) or 0).first()
    else:
        account = accounts.find_by_username(name)
    if account is None:
        raise CommandError(f"There is no account {name}: nothing was done.")
    return account
