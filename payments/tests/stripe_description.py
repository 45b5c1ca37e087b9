"""Stripe's own description of its API, as its package ships it: typed parameters and objects of one version.

localstripe accepts parameters that Stripe refuses, and ignores others. So the proxy holds every request of
every test against these types.
"""

import builtins
import re
import sys
import typing
from collections.abc import Iterator, Mapping
from types import UnionType
from typing import Any, Literal, Protocol, Union, get_args, get_origin
from urllib.parse import parse_qsl

import stripe
from stripe import _request_options, params
from typing_extensions import get_type_hints, is_typeddict

from payments.gateways.stripe_calls import API_VERSION

PARAMETERS: Mapping[tuple[str, str], type] = {
    ("POST", "/v1/payment_intents"): params.PaymentIntentCreateParams,
    ("GET", "/v1/payment_intents"): params.PaymentIntentListParams,
    ("GET", "/v1/payment_intents/search"): params.PaymentIntentSearchParams,
    ("GET", "/v1/payment_intents/{id}"): params.PaymentIntentRetrieveParams,
    ("POST", "/v1/payment_intents/{id}/confirm"): params.PaymentIntentConfirmParams,
    ("POST", "/v1/payment_intents/{id}/cancel"): params.PaymentIntentCancelParams,
    ("POST", "/v1/refunds"): params.RefundCreateParams,
    ("GET", "/v1/refunds"): params.RefundListParams,
    ("GET", "/v1/disputes"): params.DisputeListParams,
}
OPTIONS = _request_options.RequestOptions.__annotations__.keys()
"""What the package takes beside parameters, and sends in headers."""


class Request(Protocol):
    """What is read of a request."""

    @property
    def method(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def form(self) -> str: ...
    @property
    def version(self) -> str: ...


class Names(dict[str, Any]):
    """Classes by their names in a module of the package, which imports most for type checkers alone.

    What is not found stands for nothing that a request or an answer could be.
    """

    def __init__(self, module: Mapping[str, Any]) -> None:
        super().__init__()
        self._module = module

    def __missing__(self, name: str) -> Any:
        if name in self._module or hasattr(builtins, name):
            raise KeyError(name)
        return getattr(stripe, name, getattr(typing, name, NeverFits))


class NeverFits:
    """In the place of a class that has another name where it is imported."""


def violations(request: Request) -> list[str]:
    """What Stripe's description doesn't allow of the request."""
    path = re.sub(r"/(pi|re)_\w+", "/{id}", request.path)
    call = f"{request.method} {path}"
    described = PARAMETERS.get((request.method, path))
    if described is None:
        return [f"{call}: not described"]
    wrong = [] if request.version == API_VERSION else [f"{call}: version {request.version!r}"]
    for name, value in parse_qsl(request.form, keep_blank_values=True):
        if not _is_described(re.findall(r"[^\[\]]+", name), value, described):
            wrong.append(f"{call}: {name}={value}")
    sent = {name.partition("[")[0] for name, _ in parse_qsl(request.form, keep_blank_values=True)}
    return wrong + [
        f"{call}: without {name}" for name in sorted(described.__required_keys__ - sent - OPTIONS)
    ]


def hints(described: type) -> dict[str, Any]:
    """The annotations of a class of the package, with classes in the place of their names."""
    module = vars(sys.modules[described.__module__])
    return get_type_hints(described, globalns=module, localns=Names(module))


def members(hint: Any) -> Iterator[Any]:
    """The types that a union or an optional type allows, without None."""
    if get_origin(hint) in (Union, UnionType):
        for inner in get_args(hint):
            yield from members(inner)
    elif hint is not type(None):
        yield hint


def literals(hint: Any) -> set[str]:
    """The values that the type lists; empty where it lists none."""
    return {value for one in members(hint) if get_origin(one) is Literal for value in get_args(one)}


def _is_described(path: list[str], value: str, hint: Any) -> bool:
    """Whether the type has a parameter at this path that can take this value.

    Where the type lists values, it allows other text for those of later versions alone.
    """
    listed = literals(hint)
    kinds = [one for one in members(hint) if one is not str or not listed]
    return any(_can_be(path, value, one) for one in kinds)


def _can_be(path: list[str], value: str, hint: Any) -> bool:
    if is_typeddict(hint):
        inner = hints(hint)
        return (
            bool(path)
            and path[0] in inner.keys() - OPTIONS
            and _is_described(path[1:], value, inner[path[0]])
        )
    match get_origin(hint), path:
        case (origin, [at, *rest]) if origin is list:
            return at.isdigit() and _is_described(rest, value, get_args(hint)[0])
        case (origin, [_, *rest]) if origin is dict:
            return _is_described(rest, value, get_args(hint)[1])
        case (origin, []) if origin is Literal:
            return value in get_args(hint)
    if path:
        return False
    if hint is bool:
        return value in ("true", "false")
    return hint is str or (hint is int and re.fullmatch(r"-?\d+", value) is not None)
