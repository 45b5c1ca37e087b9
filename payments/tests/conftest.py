"""What the tests of payments share."""

from payments.tests.own_gateway import gateway_process, own_gateway

__all__ = ["gateway_process", "own_gateway"]
