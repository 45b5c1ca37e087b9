"""Parsing webhook events of any gateway: only their id, type and key are used. A signed event is never
refused, because the gateway would send it again for days.
"""

import hashlib
import re
from collections.abc import Mapping
from typing import Any

import orjson

from payments.gateways.contract import GatewayEvent

LONGEST_TYPE = 64
NAME = re.compile(r"[!-~]{1,255}")
KEY = re.compile(r"[!-~]{1,96}")


def parse(body: bytes) -> dict[str, Any] | None:
    """The event in the body: a JSON object with an id and a type. None for anything else."""
    try:
        payload = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(payload, dict):
        return None
    has_names = all(isinstance(payload.get(name), str) and payload[name] for name in ("id", "type"))
    return payload if has_names else None


def build(payload: Mapping[str, Any], *, type: str, key: str, reference: str = "") -> GatewayEvent:
    """The event, with a hash for an id that doesn't fit its column, and the type shortened to fit."""
    id: str = payload["id"]
    if not NAME.fullmatch(id):
        id = f"sha256:{hashlib.sha256(id.encode()).hexdigest()}"
    shown = re.sub(r"[^!-~]", "?", type)[:LONGEST_TYPE]
    return GatewayEvent(id=id, type=shown, key=key, reference=reference)


def nested_object(payload: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    """The nested object at this path; an empty one where it is missing."""
    for name in names:
        inner = payload.get(name)
        payload = inner if isinstance(inner, dict) else {}
    return payload


def charge_key(part: Mapping[str, Any], name: str) -> str:
    """The charge's key; empty where it is missing or can't be one of ours."""
    key = part.get(name)
    return key if isinstance(key, str) and KEY.fullmatch(key) else ""
