"""Parsing webhook events, from whichever gateway: only their id, type and key are used.

A signed event is never refused, because the gateway would send it again for days. So names that don't fit
into their columns are stored in a form that does.
"""

import hashlib
import re
from collections.abc import Mapping
from typing import Any

import orjson

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


def event_id(payload: Mapping[str, Any]) -> str:
    """The event's id, or a hash of one that is longer than 255 characters or not printable ASCII."""
    id: str = payload["id"]
    return id if NAME.fullmatch(id) else f"sha256:{hashlib.sha256(id.encode()).hexdigest()}"


def event_type(type: str) -> str:
    """The type, with `?` for what is not printable ASCII, and shortened; no known type needs either."""
    return re.sub(r"[^!-~]", "?", type)[:LONGEST_TYPE]


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
