"""Every address of the operators' pages, and every action on their lists, found in the code."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from django.apps import apps
from django.contrib import admin
from django.contrib.contenttypes.models import ContentType
from django.db.models import Model
from django.urls import URLPattern, URLResolver, get_resolver

ROOT = "admin/"
# What stands in a path for the parameters that are not the key of the model's row.
ELSE = "anything-else"
ROW = r"/admin/\w+/\w+/<id>/"
# A page that each list has.
ANY_LIST = "<app_label>/<model_name>"
ROWS = {
    "account_id": "auth.User",
    "campaign_id": "coupons.Campaign",
    "product_id": "inventory.Product",
    "sale_id": "sales.Sale",
}
# What only shows something, and takes a POST as it takes a GET: lists, histories, what pages load, and links.
SHOWN = (
    r"/admin/|/admin/\w+/\w+/(<id>/history/)?|/admin/password_change/done/|/admin/(jsi18n|search|search/hits)/"
    r"|/admin/ledger/\w+/balance/|/admin/\w+/\w+/(<id>/)?(open_page|results|export_coupons)/"
)


@dataclass(frozen=True)
class Address:
    """A path of the operators' pages, as docs/reference/rights.md writes it, and one that can be called."""

    written: str
    path: str


@dataclass(frozen=True)
class Action:
    """An action on a list; `rows` are the keys of its rows."""

    written: str
    path: str
    name: str
    pages: "admin.ModelAdmin[Model]"


def addresses() -> Iterator[Address]:
    """All addresses below /admin/. Each model needs a row."""
    seen = set()
    for route in routes(get_resolver().url_patterns):
        if not route.startswith(ROOT):
            continue
        for address in _addresses("/" + route):
            # The path of a row without more leads to the page that changes it, whatever the rights.
            if address.written not in seen and not re.fullmatch(ROW, address.written):
                seen.add(address.written)
                yield address


def actions() -> Iterator[Action]:
    for model, pages in admin.site._registry.items():
        path = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
        for action in pages._get_base_actions():
            # A tuple before Django 6.1.
            name = action[1] if isinstance(action, tuple) else action.name
            yield Action(f"{path} {name}", path, name, pages)


def is_form(address) -> bool:
    """Whether the address is there to change something: a form, an action, or a step of one."""
    lists = {f"/admin/{model._meta.app_label}/" for model in admin.site._registry}
    return address.written not in lists and not re.fullmatch(SHOWN, address.written)


def first_row(model: type[Model]) -> Model:
    row = model._default_manager.order_by("pk").first()
    assert row is not None, f"the fixture creates no row of {model}"
    return row


def routes(patterns: list[URLPattern | URLResolver], before="") -> Iterator[str]:
    for pattern in patterns:
        route = before + str(pattern.pattern).removeprefix("^").removesuffix("$").removesuffix("\\Z")
        if isinstance(pattern, URLResolver):
            yield from routes(pattern.url_patterns, route)
        else:
            yield route


def _addresses(route):
    """The address of the route; several where it lists the names that it takes."""
    listed = re.search(r"\(\?P<\w+>([\w|]+)\)", route)
    if listed:
        for name in sorted(listed[1].split("|")):
            yield from _addresses(route.replace(listed[0], name))
        return
    route = re.sub(r"\(\?P<(\w+)>[^)]*\)", r"<\1>", route)
    route = re.sub(r"<\w+:(\w+)>", r"<\1>", route)
    if ANY_LIST in route:
        for model in admin.site._registry:
            of_model = f"{model._meta.app_label}/{model._meta.model_name}"
            yield from _addresses(route.replace(ANY_LIST, of_model))
        return
    values = _values(route)
    missing = set(re.findall(r"<(\w+)>", route)) - values.keys()
    assert not missing, f"{route}: say in foundation/tests/admin_addresses.py what {missing} stand for"
    path = re.sub(r"<(\w+)>", lambda found: values[found[1]], route)
    yield Address(re.sub(r"<object_id>", "<id>", route), path)


def _values(route):
    values = {"url": ELSE}
    board = re.match(r"/admin/board/(campaign|product|sale)s/", route)
    for parameter, label in ROWS.items():
        if f"<{parameter}>" in route or (board and parameter == f"{board[1]}_id"):
            values[parameter] = str(first_row(apps.get_model(label)).pk)
    if board:
        values["pk"] = values[f"{board[1]}_id"]
    of_model = re.match(r"/admin/(\w+)/(\w+)/", route)
    models = {(m._meta.app_label, m._meta.model_name): m for m in admin.site._registry}
    model = models.get((of_model[1], of_model[2])) if of_model else None
    if model is not None and "<" in route:
        key = str(first_row(model).pk)
        values |= {"object_id": key, "id": key}
    if "content_type_id" in route:
        product = first_row(next(m for m in models.values() if m._meta.model_name == "product"))
        kind = ContentType.objects.get_for_model(product)
        values |= {"content_type_id": str(kind.pk), "object_id": str(product.pk)}
    return values
