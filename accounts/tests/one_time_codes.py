"""Authenticator apps for tests: codes of an account's device, as a phone would show them."""

import base64
import itertools

from django.contrib.auth.models import User
from django_otp.oath import TOTP
from django_otp.plugins.otp_static.models import StaticToken
from django_otp.plugins.otp_totp.models import TOTPDevice

from accounts.signing_in import second_factor
from accounts.signing_in.second_factor import Enrolled
from foundation import clock

STEP_SECONDS = 30
SECRETS = itertools.cycle(f"{number:040x}" for number in range(0x1234567, 0x1234567 + 1000))


def enrolled(account: User) -> Enrolled:
    """Set up one-time codes for the account; the code of the present step is used up by that."""
    secret = next(SECRETS)
    return second_factor.enrol(account_id=account.pk, secret=secret, code=code_of(secret), after={})


def with_codes(account: User) -> User:
    """The account with one-time codes set up, of which none is used yet."""
    enrolled(account)
    TOTPDevice.objects.filter(user=account).update(last_t=-1)
    return account


def code_for(account: User, *, seconds=0) -> str:
    """What the account's phone shows; `seconds` is how far its clock is ahead."""
    return code_of(TOTPDevice.objects.get(user=account).key, seconds=seconds)


def code_of(secret: str, *, seconds=0) -> str:
    totp = TOTP(bytes.fromhex(secret))
    totp.time = clock.seconds() + seconds
    return f"{totp.token():06d}"


def secret_of_text(shown: str) -> str:
    """The secret, in hexadecimal, of the text that the page to set codes up shows."""
    return base64.b32decode(shown.replace(" ", "")).hex()


def wrong_code(account: User) -> str:
    """A code that the account's phone shows neither now nor within minutes."""
    near = {code_for(account, seconds=STEP_SECONDS * steps) for steps in range(-10, 11)}
    return next(code for code in map("{:06d}".format, itertools.count()) if code not in near)


def backup_codes(account: User) -> list[str]:
    return list(StaticToken.objects.filter(device__user=account).values_list("token", flat=True))
