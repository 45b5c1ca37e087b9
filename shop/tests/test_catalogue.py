"""The catalogue of metrics: complete, and the same as the tables of docs/metrics.md."""

import re

from prometheus_client import REGISTRY

from scripts.stack import places
from shop.observability import catalogue

PAGE = places.PROJECT / "docs" / "metrics.md"
TYPES = {"counter", "gauge", "histogram"}


def documented() -> list[tuple[str, str, tuple[str, ...]]]:
    """Name, type and labels of each row of the tables."""
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \|([^|]*)\|", PAGE.read_text(), flags=re.MULTILINE)
    return [
        (name, kind, tuple(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows if kind in TYPES
    ]


def test_the_page_has_a_row_for_each_metric_and_none_besides() -> None:
    rows = documented()
    assert len({name for name, _, _ in rows}) == len(rows), "each once"
    defined = {
        definition.name: (definition.kind, set(definition.labels))
        for definition in catalogue.definitions().values()
        # What other tests have declared.
        if not definition.name.startswith("firstcome_test_")
    }
    assert {name: (kind, set(labels)) for name, kind, labels in rows} == defined


def test_every_metric_of_the_shop_in_the_registry_is_listed() -> None:
    catalogue.import_declarations()
    families = {family.name for family in REGISTRY.collect() if family.name.startswith("firstcome_")}
    assert families
    assert families <= {name.removesuffix("_total") for name in catalogue.definitions()}
