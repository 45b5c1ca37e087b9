"""The catalogue of metrics: complete, and the same as the tables of docs/metrics.md."""

import re

from prometheus_client import REGISTRY

from scripts.monitoring import rules
from scripts.stack import places
from shop.observability import catalogue

PAGE = places.PROJECT / "docs" / "metrics.md"
TYPES = {"counter", "gauge", "histogram"}


def documented() -> list[tuple[str, str, tuple[str, ...]]]:
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
    shown = {name: (kind, set(labels)) for name, kind, labels in rows}
    recorded = {name for name in rules.recorded() if name.startswith("firstcome_")}
    assert {name: shown[name] for name in shown.keys() - recorded} == defined
    assert recorded == {name for name in shown if _is_recorded(name)}


def _is_recorded(name: str) -> bool:
    return bool(re.search(rf"^\| `{name}` .*\| rule \|$", PAGE.read_text(), re.MULTILINE))


def test_every_metric_of_the_shop_in_the_registry_is_listed() -> None:
    catalogue.import_declarations()
    families = {family.name for family in REGISTRY.collect() if family.name.startswith("firstcome_")}
    assert families
    assert families <= {name.removesuffix("_total") for name in catalogue.definitions()}
