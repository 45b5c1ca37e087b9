"""The glossary against the code: its terms are the words that are used."""

import re
from pathlib import Path

import pytest

from coupons.models import Coupon, QueueTicket
from inventory.models import StockMovement
from orders.models import Order, Saga, SagaLog
from orders.saga.definitions import RETRYABLE
from payments.models import Payment
from sales.models import SaleEntry
from scripts.stack import places

GLOSSARY = (places.PROJECT / "docs" / "glossary.md").read_text()
ROWS = re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", GLOSSARY, flags=re.MULTILINE)
TERMS = [term for terms, _ in ROWS if terms not in {"term", "---"} for term in terms.split(", ")]
APPS = ("shop", "coupons", "inventory", "payments", "sales", "orders", "scripts")


VALUES = {
    "coupon": Coupon.Status.values,
    "queue ticket": QueueTicket.Status.values,
    "movement": StockMovement.Kind.values,
    "order": Order.Status.values,
    "payment": Payment.Status.values,
    "saga": Saga.State.values,
    "sale entry": SaleEntry.Status.values,
    "final line": [event.value for event in SagaLog.Event if event not in RETRYABLE],
}


def words_of_the_code() -> str:
    files: list[Path] = [file for app in APPS for file in (places.PROJECT / app).rglob("*.py")]
    return " ".join(
        "\n".join(file.read_text() for file in files).replace("_", " ").replace("#", " ").split()
    ).lower()


WORDS = words_of_the_code()


@pytest.mark.parametrize("term", TERMS)
def test_every_term_is_used_in_the_code(term: str):
    assert re.search(rf"\b{re.escape(term.lower())}", WORDS)


@pytest.mark.parametrize("term", VALUES)
def test_a_term_with_statuses_has_those_of_the_code(term: str):
    assert sorted(re.findall(r"`(\w+)`", dict(ROWS)[term])) == sorted(VALUES[term])


def test_a_term_stands_once_with_one_sentence():
    assert len(TERMS) == len(set(TERMS)) > 50
    meanings = [meaning for terms, meaning in ROWS if terms not in {"term", "---"}]
    assert [meaning for meaning in meanings if not re.fullmatch(r"[A-Z][^.]*(?:\.md[^.]*)?\.", meaning)] == []
