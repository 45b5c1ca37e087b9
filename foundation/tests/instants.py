"""Instants before and after now, by the shop's clock: `ago(minutes=5)`."""

from datetime import datetime, timedelta

from foundation import clock


def ago(**span: float) -> datetime:
    return clock.now() - timedelta(**span)


def from_now(**span: float) -> datetime:
    return clock.now() + timedelta(**span)
