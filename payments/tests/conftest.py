"""What the tests of payments share."""

from payments.tests.own_gateway import gateway_process, own_gateway
from payments.tests.own_stripe import localstripe, own_stripe, stripe_proxy

__all__ = ["gateway_process", "localstripe", "own_gateway", "own_stripe", "stripe_proxy"]
