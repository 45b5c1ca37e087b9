"""The test run's own identity provider, a process: oidc-provider, certified by the OpenID Foundation."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jwt
import pytest
import urllib3
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from django.conf import LazySettings
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from accounts.tokens import external_accounts, provider_keys
from foundation import clock
from scripts.stack import children, ports, system_packages
from scripts.tests.circles import once_a_session

SCRIPT = Path(__file__).with_name("identity_provider.mjs")
AUDIENCE = "https://api.shop.example"
HTTP = urllib3.PoolManager(timeout=10, retries=False)


class SigningKey:
    """A key pair of the provider: `private` is its JSON Web Key."""

    def __init__(self, key_id, algorithm="RS256"):
        self.id = key_id
        self.algorithm = algorithm
        if algorithm == "RS256":
            self.secret: Any = rsa.generate_private_key(public_exponent=65537, key_size=2048)
            members = RSAAlgorithm.to_jwk(self.secret, as_dict=True)
        elif algorithm == "ES256":
            self.secret = ec.generate_private_key(ec.SECP256R1())
            members = ECAlgorithm.to_jwk(self.secret, as_dict=True)
        else:
            self.secret = ed25519.Ed25519PrivateKey.generate()
            members = OKPAlgorithm.to_jwk(self.secret, as_dict=True)
        members.pop("key_ops", None)
        self.private = {**members, "kid": key_id, "use": "sig", "alg": algorithm}

    def sign(self, claims: dict[str, Any], **header) -> str:
        """A token with these claims, whoever would make one like it."""
        return jwt.encode(claims, self.secret, algorithm=self.algorithm, headers={"kid": self.id, **header})


FIRST = SigningKey("first")


class IdentityProvider:
    """The provider at `issuer`, which has these keys."""

    def __init__(self, child, port):
        self.issuer = f"http://{ports.HOST}:{port}"
        self.keys: list[SigningKey] = []
        self._child = child

    def have(self, *keys: SigningKey):
        """Have these keys from now on, and no others."""
        self.keys = list(keys)
        self._ask("PUT", "/test/keys", {"keys": [key.private for key in keys]})

    def token(self, sub: str, *, key: SigningKey | None = None, seconds=300, **claims) -> str:
        """An access token for the shop, by the provider's first key unless another is named."""
        key = key or self.keys[0]
        wanted = {"sub": sub, "kid": key.id, "alg": key.algorithm, "audience": AUDIENCE}
        return self._ask("POST", "/test/token", {**wanted, "seconds": seconds, "claims": claims})

    def claims(self, sub: str | None, **others) -> dict[str, Any]:
        """The claims of a token that is good now, changed by `others`; None leaves one out."""
        now = int(clock.seconds())
        good = {"iss": self.issuer, "aud": AUDIENCE, "sub": sub, "iat": now, "exp": now + 300}
        return {name: value for name, value in {**good, **others}.items() if value is not None}

    def times_asked(self) -> int:
        """How often its keys were asked for."""
        return int(self._ask("GET", "/test/asked"))

    def stop(self):
        children.stop(self._child)

    def _ask(self, method, path, body=None):
        reply = HTTP.request(method, self.issuer + path, body=None if body is None else json.dumps(body))
        assert reply.status == 200, reply.data
        return reply.data.decode()


@contextmanager
def running(folder: Path) -> Iterator[IdentityProvider]:
    """A provider of its own process."""
    (folder / "node_modules").symlink_to(system_packages.npm_packages() / "node_modules")
    script = folder / SCRIPT.name
    script.write_text(SCRIPT.read_text())
    port = ports.free()
    command = [system_packages.program("node"), str(script), str(port)]
    with children.running(
        command, name="the identity provider", log=folder / "log", is_ready=(ports.HOST, port)
    ) as child:
        yield IdentityProvider(child, port)


@pytest.fixture(scope="session")
@once_a_session
def _identity_provider(tmp_path_factory):
    with running(tmp_path_factory.mktemp("identity-provider")) as provider:
        yield provider


@pytest.fixture
def identity_provider(_identity_provider, settings):
    """The run's own identity provider, with the key `FIRST`, whose tokens the shop accepts in this test."""
    _identity_provider.have(FIRST)
    accept(_identity_provider, settings)
    return _identity_provider


def accept(provider: IdentityProvider, settings: LazySettings):
    """Have the shop accept this provider's tokens."""
    settings.IDENTITY_ISSUER = provider.issuer
    settings.IDENTITY_AUDIENCE = AUDIENCE
    settings.IDENTITY_JWKS_URL = f"{provider.issuer}/jwks"
    provider_keys.KEYS.forget()
    external_accounts.forget()
