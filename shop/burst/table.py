"""The calls of the burst lane: those that a crowd makes at once. All others are Django's.

Each is a method of a view, written as a coroutine under `foundation.http.views.burst`.
"""

import re
from collections.abc import Callable, Coroutine
from inspect import iscoroutinefunction
from typing import Any, NamedTuple
from uuid import UUID

from django.urls.converters import UUIDConverter

from accounts.api import OwnPassword, SignIn, Users
from coupons.api import Campaigns, Coupons, OneQueueTicket
from events.api import Events
from foundation.http.messages import JSONResponse
from foundation.http.views import View
from foundation.values import Values
from inventory.api import Products
from orders.api import OneOrder, Orders, Payments, TopUps
from sales.api import OneSaleEntry, SaleEntries, Sales

ID = re.compile(rf"(?<=/)(?:(?P<uuid>{UUIDConverter.regex})|(?P<int>[0-9]{{1,19}}))(?=/|\Z)")


class Call(NamedTuple):
    """A call of the table: its view, the view's name in metrics, the coroutine that answers it, and its
    argument in the path, if any.
    """

    view: type[View]
    name: str
    handler: Callable[..., Coroutine[Any, Any, JSONResponse]]
    argument: str


CALLS: dict[tuple[str, str], Call] = {}
"""By method and path below `/api/v1/`, with `<uuid>` or `<int>` for an argument; sixteen at most."""


def add(method: str, path: str, view: type[View]) -> None:
    """Have the burst lane answer this call, whose path is as in a URL configuration."""
    argument = re.search(r"<(uuid|int):(\w+)>", path)
    shape = path.replace(argument[0], f"<{argument[1]}>") if argument else path
    handler = getattr(view, method.lower()).__wrapped__
    # A decorator above `burst` would be passed by.
    assert iscoroutinefunction(handler), f"{method} {path}"
    name = f"{view.__module__}.{view.__qualname__}"
    CALLS[method, shape] = Call(view, name, handler, argument[2] if argument else "")


def find(method: str, path: str) -> tuple[Call, Values] | None:
    """The call at this path below `/api/v1/`, and its arguments, as Django's resolver finds them."""
    method = "GET" if method == "HEAD" else method
    if call := CALLS.get((method, path)):
        return call, {}
    if not (id := ID.search(path)):
        return None
    call = CALLS.get((method, f"{path[: id.start()]}<{id.lastgroup}>{path[id.end() :]}"))
    value = UUID(id[0]) if id.lastgroup == "uuid" else int(id[0])
    return (call, {call.argument: value}) if call else None


add("POST", "coupons", Coupons)
add("GET", "queue-tickets/<uuid:ticket_id>", OneQueueTicket)
add("GET", "campaigns", Campaigns)
add("GET", "products", Products)
add("POST", "orders", Orders)
add("GET", "orders/<uuid:order_id>", OneOrder)
add("POST", "payments", Payments)
add("POST", "wallet/top-ups", TopUps)
add("GET", "sales", Sales)
add("POST", "sales/<int:sale_id>/entries", SaleEntries)
add("GET", "sale-entries/<uuid:entry_id>", OneSaleEntry)
add("POST", "auth/token", SignIn)
add("POST", "users", Users)
add("POST", "users/me/password", OwnPassword)
add("GET", "events", Events)
