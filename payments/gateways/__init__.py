"""Payment gateways: one contract, and the adapters that speak each one's protocol."""

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from payments.gateways import simulator, stripe_api
from payments.gateways.contract import Gateway

GATEWAYS: dict[str, Gateway] = {"simulator": simulator, "stripe": stripe_api}


def gateway() -> Gateway:
    """The gateway that `PAYMENT_GATEWAY` names."""
    try:
        return GATEWAYS[settings.PAYMENT_GATEWAY]
    except KeyError:
        known = ", ".join(GATEWAYS)
        raise ImproperlyConfigured(
            f"PAYMENT_GATEWAY is {settings.PAYMENT_GATEWAY!r}: choose from {known}."
        ) from None
