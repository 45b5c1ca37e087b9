"""The catalogue of metrics: complete, and the same as the tables of docs/metrics.md."""

import os
import re
import subprocess
import sys

import pytest
from prometheus_client import REGISTRY

from scripts import check
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


def test_every_row_says_what_it_means_and_which_process_exposes_it() -> None:
    rows = re.findall(r"^\| `((?:firstcome|django)_\w+)` (\|.+\|)$", PAGE.read_text(), flags=re.MULTILINE)
    assert len(rows) == len(documented())
    incomplete = [
        name for name, rest in rows if not re.fullmatch(r"\| \w+ \|[^|]*\| [^|]+ \| [^|]+ \|", rest)
    ]
    assert incomplete == []


def test_what_other_processes_declare_is_in_it_too() -> None:
    """A worker never imports the web server, and a web process never imports every task."""
    defined = catalogue.definitions()
    assert defined["firstcome_connections_closed_total"].labels == ("reason",)
    assert defined["firstcome_pool_codes_given_back_total"].kind == "counter"
    assert defined["firstcome_lock_wait_seconds"].kind == "histogram"
    assert defined["firstcome_sagas_stuck"].kind == "gauge"


def test_names_follow_prometheus_conventions() -> None:
    for name, kind, labels, help in catalogue.definitions().values():
        assert name.endswith("_total") == (kind == "counter"), name
        assert help.endswith("."), name
        assert not set(labels) & {"job", "instance", "le", "pid"}, name


def test_every_metric_of_the_shop_in_the_registry_is_listed() -> None:
    catalogue.import_declarations()
    families = {family.name for family in REGISTRY.collect() if family.name.startswith("firstcome_")}
    assert families
    assert families <= {name.removesuffix("_total") for name in catalogue.definitions()}


@pytest.mark.boots("a Python process")
def test_it_is_complete_without_a_driver_for_mysql() -> None:
    """`make check` and the embedded shop run without mysqlclient."""
    program = (
        "import sys; sys.modules['MySQLdb'] = None\n"
        "import django; django.setup()\n"
        "from shop.observability import catalogue; print(*catalogue.definitions())"
    )
    environment = {**os.environ, **check.SETTINGS}
    printed = subprocess.run(
        [sys.executable, "-c", program],
        cwd=places.PROJECT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    of_the_shop = {name for name in catalogue.definitions() if not name.startswith("firstcome_test_")}
    assert set(printed.split()) == of_the_shop
