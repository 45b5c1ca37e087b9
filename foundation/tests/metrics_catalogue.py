"""The catalogue of metrics: every metric of the shop's own that some process may expose.

A declaration exists once its module is imported, so the catalogue imports all modules of the shop.
"""

import importlib
from functools import cache
from pathlib import Path
from typing import NamedTuple

from django.apps import apps
from django.conf import settings
from prometheus_client import REGISTRY
from prometheus_client.metrics import MetricWrapperBase

from foundation.observability import gauges

NOT_DECLARING = {"tests", "migrations", "management", "mysql"}
"""Packages without declarations. `foundation.db.mysql` needs mysqlclient, which the embedded shop has not."""
ENTRY_POINTS = {"shop.asgi"}
"""Modules that start something when they are imported."""


class Definition(NamedTuple):
    """One metric. A counter's name ends with `_total`; a histogram has its base name."""

    name: str
    kind: str
    labels: tuple[str, ...]
    help: str


def definitions() -> dict[str, Definition]:
    """All metrics of the shop's own by their exposed names, ordered by name."""
    import_declarations()
    counted = [
        Definition(
            f"{metric._name}_total" if metric._type == "counter" else metric._name,
            str(metric._type),
            tuple(metric._labelnames),
            metric._documentation,
        )
        for metric in list(REGISTRY._collector_to_names)
        if isinstance(metric, MetricWrapperBase) and metric._name.startswith(("firstcome_", "django_http_"))
    ]
    read = [
        Definition(name, "gauge", (group.label,) if group.label else (), help)
        for group in gauges._groups.values()
        for name, help in group.helps.items()
    ]
    return {definition.name: definition for definition in sorted([*counted, *read])}


@cache
def import_declarations():
    base = Path(settings.BASE_DIR)
    for config in apps.get_app_configs():
        for path in Path(config.path).rglob("*.py") if Path(config.path).parent == base else ():
            parts = path.relative_to(base).with_suffix("").parts
            name = ".".join(parts).removesuffix(".__init__")
            if name not in ENTRY_POINTS and not NOT_DECLARING.intersection(parts):
                importlib.import_module(name)
