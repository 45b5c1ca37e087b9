"""Notes of staff on an order: who writes and reads them, and that only the table has their text."""

import json
import logging

import pytest

from accounts.personal_data import registry
from accounts.tests.clients import signed_in
from foundation.models import JournalLine
from foundation.tests.factories import staff_member
from foundation.tests.journal_lines import journal_line
from orders.models import OrderNote
from orders.tests import operating_pages
from orders.tests.operating_pages import operator, page_of, press

pytestmark = pytest.mark.django_db(transaction=True)
TEXT = "She asked for <b>Tuesday</b>."


def test_a_note_is_written_once_shown_with_its_author_and_nowhere_else(caplog):
    order, client = operating_pages.unpaid_order(), signed_in(operator("orders.change_order"))
    with caplog.at_level(logging.DEBUG):
        opened = client.get(page_of(order, "note")).context["form"]
        fields = operating_pages.hidden_fields(opened) | {"reason": TEXT}
        for _ in range(2):
            client.post(page_of(order, "note"), fields)
    page = client.get(page_of(order)).text
    assert OrderNote.objects.get().text == TEXT
    assert "She asked for &lt;b&gt;Tuesday&lt;/b&gt;." in page and "ada," in page
    line = journal_line("order.note_added")
    assert (line.actor_name, line.order_id, line.is_internal, line.detail) == ("ada", order.id, True, "")
    assert "Tuesday" not in caplog.text
    assert "Tuesday" not in json.dumps([*JournalLine.objects.values()], default=str)


def test_who_may_only_see_the_order_reads_and_does_not_write():
    order = operating_pages.unpaid_order()
    press(signed_in(operator("orders.change_order")), page_of(order, "note"), reason="She calls back.")
    reader = signed_in(staff_member("orders.view_order", username="rea"))
    page = reader.get(page_of(order)).text
    assert "She calls back." in page and page_of(order, "note") not in page
    assert reader.post(page_of(order, "note"), {"reason": "x"}).status_code == 403
    assert OrderNote.objects.count() == 1


def test_the_report_of_personal_data_has_the_text_and_an_erasure_deletes_it():
    order = operating_pages.unpaid_order()
    press(signed_in(operator("orders.change_order")), page_of(order, "note"), reason="She calls back.")
    document = json.loads(registry.export(account_id=order.account_id, reason="asked"))
    [row] = document["tables"]["orders.OrderNote"]
    assert row["text"] == "She calls back." and "author_id" not in row
    assert registry.personal_data()["orders.OrderNote"].erasure is registry.Erasure.DELETED
