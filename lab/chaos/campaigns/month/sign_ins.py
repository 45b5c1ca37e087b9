"""Sign-ins of a campaign's accounts: access tokens that expire, refresh tokens, and operators' sessions."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import jwt
import requests

from lab.chaos.memory import Account
from scripts.stack import SetupError, readiness, waiting
from scripts.stack.instance import Instance

SIGN_IN, REFRESH, OWN = "/api/v1/auth/token", "/api/v1/auth/refresh", "/api/v1/users/me"
LOGIN = "/admin/login/"
PATIENCE_SECONDS = 30
ACCEPTED_TIMES = 8
"""So many new connections accept a new token in a row, once each web process has the time."""
LEAST_VALIDITY = timedelta(minutes=5)
JSON = {"Content-Type": "application/json"}


@dataclass
class SignedIn:
    """An account with the refresh token that is not used yet."""

    account: Account
    refresh: str

    def renew(self, instance: Instance, *, now: datetime) -> None:
        """Use the refresh token; the account has a new access token then. Raises SetupError.

        `now` is the database's time: a web process that does not follow it yet gives expired tokens.
        """
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            pair = _post(instance, REFRESH, {"refresh": self.refresh})
            self.account.token, self.refresh = pair["access"], pair["refresh"]
            if expires_at(self.account.token) > now + LEAST_VALIDITY:
                return
            if time.monotonic() > deadline:
                raise SetupError(f"the new access token of account {self.account.id} has expired")
            time.sleep(0.1)


def expires_at(token: str) -> datetime:
    """When an access token expires, by its claims."""
    return datetime.fromtimestamp(jwt.decode(token, options={"verify_signature": False})["exp"], UTC)


def sign_in(instance: Instance, account: Account, name: str, password: str) -> SignedIn:
    """Sign the account in by its password. Raises SetupError."""
    pair = _post(instance, SIGN_IN, {"username": name, "password": password})
    account.token = pair["access"]
    return SignedIn(account, pair["refresh"])


def still_valid(instance: Instance, signed_in: list[SignedIn]) -> Iterator[str]:
    """Each account whose access token is still good, though its time is over."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    for one in signed_in:
        while _is_accepted(instance, one.account.token):
            if time.monotonic() > deadline:
                yield f"the access token of account {one.account.id} is good after its time"
                break
            time.sleep(0.1)


def wait_until_accepted(instance: Instance, account: Account) -> None:
    """Return once no web process refuses the account's new token as one of the future. Raises SetupError."""
    waiting.until(
        lambda: all(_is_accepted(instance, account.token) for _ in range(ACCEPTED_TIMES)),
        f"the new access token of account {account.id} is not accepted",
        within_seconds=PATIENCE_SECONDS,
    )


def open_session(instance: Instance, name: str, password: str) -> None:
    """Sign an operator in to the pages of the admin, which is a new session. Raises SetupError."""
    address, session = f"{instance.url}{LOGIN}", requests.Session()
    session.trust_env = False  # a proxy of the environment is not the shop's
    session.get(address, timeout=PATIENCE_SECONDS)
    form = {"username": name, "password": password, "next": "/admin/"}
    form["csrfmiddlewaretoken"] = session.cookies.get("csrftoken") or ""
    answer = session.post(address, form, headers={"Referer": address}, timeout=PATIENCE_SECONDS)
    if LOGIN in answer.url:
        raise SetupError(f"{name} could not sign in to the admin: {answer.status_code} {answer.url}")


def _is_accepted(instance: Instance, token: str) -> bool:
    status, _ = readiness.ask(instance.port, "GET", OWN, headers={"Authorization": f"Bearer {token}"})
    return status == 200


def _post(instance: Instance, path: str, body: dict[str, str]) -> dict[str, str]:
    status, text = readiness.ask(instance.port, "POST", path, json.dumps(body), JSON)
    if status != 200:
        raise SetupError(f"{path} answered {status}: {text[:300]}")
    pair: dict[str, str] = json.loads(text)
    return pair
