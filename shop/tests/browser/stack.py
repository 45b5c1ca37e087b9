"""The shop for browser tests: a real web server and worker, with a gateway and a data platform."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import urllib3
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client, override_settings

from accounts.signing_in import second_factor
from accounts.signing_in.password_hashing import Argon2Hasher
from accounts.tests.one_time_codes import enrolled
from accounts.tokens import token_pairs
from events.tests import own_data_platform
from foundation.tests import live
from foundation.tests.factories import PASSWORD, SuperuserFactory
from orders.tests.conftest import start_worker
from scripts.stack import children, ports
from scripts.tests.simulator import Simulator

HTTP = urllib3.PoolManager(maxsize=16, retries=False, timeout=30)


@dataclass(frozen=True)
class Stack:
    """The web server's address, and the settings of its processes."""

    address: str
    settings: Mapping[str, str]


@contextmanager
def running(folder: Path, gateway: Simulator, data_platform: Simulator) -> Iterator[Stack]:
    """The processes on the test's database, until the block ends."""
    static, port = str(folder / "static"), ports.free()
    with override_settings(STATIC_ROOT=static):
        call_command("collectstatic", interactive=False, verbosity=0)
    settings = {
        "STAFF_OTP_REQUIRED": "1",
        "LOG_LEVEL": "INFO",
        "DEMO": "1",
        "WEBHOOK_PRIVATE_ADDRESSES": "1",
        "STATIC_ROOT": static,
        # Where the gateway's page for the card's owner leads back to.
        "PAYMENT_RETURN_URL": f"http://{ports.HOST}:{port}/demo/#/orders/{{order}}",
        "GATEWAY_URL": f"http://{ports.HOST}:{gateway.port}",
        "EVENT_SECRET": own_data_platform.SECRET,
        "DATA_PLATFORM_URL": f"http://{ports.HOST}:{data_platform.port}",
    }
    worker = start_worker(folder / "worker.log", gateway, data_platform, **settings)
    try:
        with live.serving(folder, workers=2, port=port, **settings) as server:
            yield Stack(server.address, settings)
    finally:
        children.stop(worker)


def call(
    address: str, account: User, method: str, path: str, body=None, **headers: str
) -> urllib3.BaseHTTPResponse:
    own = {"Authorization": f"Bearer {token_pairs.create_access_token(account)}"}
    return HTTP.request(method, f"{address}/api/v1{path}", json=body, headers=own | headers)


@cache
def hashed_password() -> str:
    """`PASSWORD` hashed as the web server hashes, which tests do quicker; once, for it is slow by design."""
    return make_password(PASSWORD, hasher=Argon2Hasher())


def superuser_with_password(username: str) -> User:
    return SuperuserFactory(username=username, password=hashed_password())


def session_of(account: User) -> str:
    """The key of a new session of the staff account, as a sign-in with a one-time code begins one."""
    device_id = second_factor.device_id_of(account.pk) or enrolled(account).device_id
    client = Client()
    client.force_login(account)
    session = client.session
    session[second_factor.SESSION_KEY] = device_id
    session.save()
    return session.session_key
