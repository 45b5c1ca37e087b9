"""Payment gateways: one contract, and an adapter for each gateway's protocol."""

from collections.abc import Callable

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from payments.gateways import simulator
from payments.gateways.contract import Gateway


def _simulator() -> Gateway:
    return simulator


def _stripe() -> Gateway:
    # Its package costs each process some 35 MB and a third of a second: only where it is asked for.
    from payments.gateways import stripe_api

    return stripe_api


GATEWAYS: dict[str, Callable[[], Gateway]] = {"simulator": _simulator, "stripe": _stripe}


def gateway() -> Gateway:
    """The gateway that `PAYMENT_GATEWAY` names."""
    try:
        return GATEWAYS[settings.PAYMENT_GATEWAY]()
    except KeyError:
        known = ", ".join(GATEWAYS)
        raise ImproperlyConfigured(
            f"PAYMENT_GATEWAY is {settings.PAYMENT_GATEWAY!r}: choose from {known}."
        ) from None
