"""The gateways that are configured: their names, the settings of each, and which of them is called just now.

`simulator` and `stripe` have settings without a name (`GATEWAY_URL`), every other its own (`GATEWAY_URL_B`).
"""

from collections.abc import Callable, Collection
from contextvars import ContextVar
from typing import Any, NamedTuple, ParamSpec, TypeVar

from django.conf import settings

P = ParamSpec("P")
Result = TypeVar("Result")
WITHOUT_NAME: Collection[str] = ("simulator", "stripe")
"""The gateways whose settings are without a name, but for the secret of their webhooks."""
_called: ContextVar[str] = ContextVar("called", default="")


class Books(NamedTuple):
    """Whose books at which gateway, by the names of a payment's columns."""

    gateway: str
    gateway_account: str


def setting_of(name: str, setting: str) -> str:
    """The name that this setting has for the gateway of this name."""
    return setting if name in WITHOUT_NAME else f"{setting}_{name.upper()}"


def value_of(name: str, setting: str) -> Any:
    """The value of this setting of the configured gateway of this name."""
    return getattr(settings, setting_of(name, setting))


def call(name: str, function: Callable[P, Result], *args: P.args, **kwargs: P.kwargs) -> Result:
    """The result of an adapter's function, which calls the configured gateway of this name."""
    token = _called.set(name)
    try:
        return function(*args, **kwargs)
    finally:
        _called.reset(token)


def called() -> str:
    """The name of the gateway that is called: without `call`, that of new payments."""
    return _called.get() or settings.PAYMENT_GATEWAY


def own(setting: str) -> Any:
    """The value of this setting of the gateway that is called."""
    return value_of(called(), setting)


def webhook_secret() -> str:
    """What signs the webhooks of the gateway that is called."""
    secret: str = getattr(settings, f"WEBHOOK_SECRET_{called().upper()}")
    return secret
