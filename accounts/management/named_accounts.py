"""How a command names an account: by its username, or by `id:7`, which no username looks like."""

from django.contrib.auth.models import User
from django.core.management.base import CommandError

from accounts import accounts

HELP = "its username, or id:7 for the account with this number"


def find(name: str) -> User:
    number = name.removeprefix("id:")
    is_number = number != name and number.isascii() and number.isdecimal()
    account_id = int(number) if is_number else accounts.find_id_by_username(name)
    account = None if account_id is None else User.objects.filter(pk=account_id).first()
    if account is None:
        raise CommandError(f"There is no account {name}: nothing was done.")
    return account
