"""Messages between processes by Redis: requests and outcomes of batches, signed with a key of the shop's.

They are pickled, because they hold what the domain made, errors with their texts among it, and a codec for
each class would have to follow every change of them. Unpickling runs code, so nothing is unpickled that was
not signed by a process with the same `SECRET_KEY`: writing to Redis is not enough to make a message.
Processes that run other code have other `peers()`, and never meet.
"""

import hashlib
import hmac
import io
import pickle
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import django
from django.apps import apps
from django.conf import settings
from django.db.models import Model
from django.db.models.base import ModelState

SIGNATURE_BYTES = 32
PEERS_LENGTH = 16


@dataclass(frozen=True, slots=True)
class HandedOver:
    """Requests for one row of a kind, and the key in Redis under which their outcomes are awaited."""

    kind: str
    row: int
    reply_to: str
    requests: Sequence[Any]


def pack(name: str, content: Any) -> bytes:
    """The content as a message for the key `name`. Raises what pickling raises."""
    buffer = io.BytesIO()
    _Pickler(buffer, protocol=5).dump(content)
    packed = buffer.getvalue()
    return _signature(name, packed) + packed


def unpack(name: str, message: bytes) -> Any:
    """The content of a message for the key `name`; None if no process of this shop made it for that."""
    signature, packed = message[:SIGNATURE_BYTES], message[SIGNATURE_BYTES:]
    if not hmac.compare_digest(signature, _signature(name, packed)):
        return None
    # It is signed, so a process of this shop pickled it.
    return pickle.loads(packed)  # noqa: S301 - only what is signed


@lru_cache(maxsize=1)
def peers() -> str:
    """What only processes with the same code and key share: they understand each other's messages."""
    code = hashlib.sha256(f"{sys.version} {django.__version__}".encode())
    folders = (Path(app.path) for app in apps.get_app_configs() if Path(app.path).parent == settings.BASE_DIR)
    for folder in sorted(folders):
        for path in sorted(folder.rglob("*.py")):
            code.update(path.read_bytes())
    return _signature("peers", code.digest()).hex()[:PEERS_LENGTH]


def _signature(name: str, content: bytes) -> bytes:
    return hmac.digest(_key(), name.encode() + b"\0" + content, "sha256")


@lru_cache(maxsize=1)
def _key() -> bytes:
    return hashlib.sha256(b"firstcome.handover" + settings.SECRET_KEY.encode()).digest()


class _Pickler(pickle.Pickler):
    """Pickles models without Django's checks of versions, and errors whatever their constructors demand."""

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, Model):
            state = value.__dict__.copy()
            kept = state.pop("_state")
            return _rebuild_model, (type(value), state, kept.adding, kept.db, kept.fields_cache)
        if isinstance(value, BaseException):
            return _rebuild_error, (type(value), value.args, value.__dict__)
        return NotImplemented


def _rebuild_model(
    model: type[Model], values: dict[str, Any], adding: bool, database: str | None, related: dict[str, Any]
) -> Model:
    rebuilt = model.__new__(model)
    rebuilt._state = ModelState()
    rebuilt._state.adding, rebuilt._state.db = adding, database
    rebuilt._state.fields_cache = related
    rebuilt.__dict__.update(values)
    return rebuilt


def _rebuild_error(error: type[BaseException], arguments: tuple[Any, ...], values: dict[str, Any]) -> Any:
    rebuilt = error.__new__(error, *arguments)
    rebuilt.args = arguments
    rebuilt.__dict__.update(values)
    return rebuilt
