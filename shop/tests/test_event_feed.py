"""The event feed: cursors, types, waits, retention, and what the journal's lines become."""

import base64
import re
from datetime import datetime, timedelta
from functools import partial
from uuid import uuid4

import pytest
from django.contrib.auth.models import Permission

from accounts.api_keys import keys
from accounts.tests import api_keys
from accounts.tests.api_keys import KeyApi, client_with
from accounts.tests.clients import client_of, faults, problem_of
from coupons import campaigns
from coupons.tests.factories import change
from events import audit, doctor
from events.feed import catalogue, reading, rows, sequencing
from events.models import FeedEvent, FeedState
from events.tests.following import Follower, names_of, publish, reader, record
from foundation import clock, journal
from foundation.db import transactions
from foundation.errors import CursorExpired, Invalid
from foundation.redis import completion_notifications
from foundation.tests.case_tables import in_one_test
from foundation.tests.instants import ago, from_now
from foundation.tests.journal_lines import journal_line
from foundation.tests.racing import wait_until
from foundation.tests.second_process import another_process, read_line
from foundation.tests.waiting import in_background, shifted
from inventory import adjustments, products
from inventory.tests.factories import ProductFactory
from sales import terms
from scripts.stack import places
from scripts.tests import documented

pytestmark = pytest.mark.django_db(transaction=True)
ON_SQLITE = """
from django.db import connection
from django.db.models import Q
from events.feed import reading, sequencing
from events.models import FeedEvent, FeedState
from foundation.models import CommittedTransaction
from events.tests.following import record

with connection.schema_editor() as editor:
    for model in (CommittedTransaction, FeedEvent, FeedState):
        editor.create_model(model)
record("a", "b")
record("c")
assert sequencing.sequence() == 3
record("d")
assert sequencing.sequence() == 1
page = reading.read_page(after=1, patterns=[], limit=10)
print("ready")
print(connection.vendor, [event.data["name"] for event in page.events], page.cursor.position, flush=True)
"""


@pytest.fixture
def api():
    yield client_of(reader())


def lose_by_a_restore(*, after: int):
    """A restore brings whole transactions back."""
    FeedEvent.objects.filter(position__gt=after).delete()
    FeedState.objects.update(last_position=after)
    sequencing.leave_gap()


def test_each_page_continues_where_the_last_one_ended(api):
    record("a", "b", "c")
    assert reading.read_page(after=0, patterns=[], limit=10).events == [], "the call gives them positions"

    first = api.read("/events?limit=2")
    second = api.read(f"/events?limit=2&after={first['next']}")
    third = api.read(f"/events?limit=2&after={second['next']}")

    assert [names_of(page) for page in (first, second, third)] == [["a", "b"], ["c"], []]
    assert third["next"] == second["next"]
    assert set(first["results"][0]) == {"id", "type", "at", "data"}
    for limit in ("0", "-1", "x", "1.5", "201"):
        assert api.get(f"/events?limit={limit}").status_code == 400, limit


def test_events_are_chosen_by_type_and_by_the_beginning_of_one(api):
    record("paid")
    record("cancelled", type="order.cancelled")
    publish("issued", type="coupon.issued")

    assert names_of(api.read("/events?type=order.cancelled")) == ["cancelled"]
    assert names_of(api.read("/events?type=order.*")) == ["paid", "cancelled"]
    assert names_of(api.read("/events?type=*")) == ["paid", "cancelled", "issued"]
    end = api.read("/events?type=order.cancelled")["next"]
    assert api.rows(f"/events?after={end}") == []


NO_TYPES = ("order.lost", "order*", "ord*", "*.paid", "order.*.*")
NO_CURSORS = (
    *("x", "AAAA", "AQAAAAAAAAAAAA==", "AQ", "AgAAAAAAAAAA", "AQAAAAAAAAAAAAAAAAAAAAA=."),
    *("AQAAAAAAAABjAAAAAAAAAAA=", "Af__________", "가"),
    *(
        base64.urlsafe_b64encode(data).decode()
        for data in (b"\x01" + bytes(8), b"\x02" + bytes(16), b"\x01" + b"\xff" * 16, b"\x03")
    ),
)


@in_one_test(
    ("query", "code"),
    [
        *((f"type={type}", "unknown_type") for type in NO_TYPES),
        *((f"after={cursor}", "invalid") for cursor in NO_CURSORS),
    ],
)
def test_a_type_that_no_event_has_and_a_cursor_that_was_not_given_are_400(api, query, code):
    assert faults(api.get(f"/events?{query}")) == [(query.partition("=")[0], code)]


def test_a_key_of_staff_reads_events_and_none_that_acts_for_an_account():
    publish("a")
    maker = reader()

    assert names_of(client_with("events:read", maker=maker).read("/events")) == ["a"]
    refused = client_with("events:read", "act", account=maker).get("/events")
    assert problem_of(refused) == (403, "permission_denied")


def test_a_page_is_waited_for_until_there_is_an_event(api):
    answer = in_background(lambda: api.get("/events?type=order.*", Prefer="wait=20"))
    wait_until(lambda: not answer.done())
    publish("other", type="coupon.issued")
    publish("paid")
    assert names_of(answer.result(timeout=15).json()) == ["paid"]


def test_a_call_that_waits_is_refused_once_its_key_is_revoked_or_its_right_withdrawn(api):
    made = api_keys.make("events:read")
    both = (KeyApi(made.secret), api)
    answers = [in_background(partial(one.get, "/events", Prefer="wait=20")) for one in both]
    wait_until(lambda: completion_notifications._count == 2)
    keys.revoke(key_id=made.key.pk)
    Permission.objects.get(codename="view_feedevent").user_set.clear()
    publish("paid")
    refused = [answer.result(timeout=15) for answer in answers]
    assert [answer.status_code for answer in refused] == [401, 403]
    assert api_keys.codes(refused) == ["token_invalid", "permission_denied"]


def test_a_page_of_a_rare_type_goes_on_where_it_stopped_looking():
    record(*"abcdef", type="coupon.issued")
    publish("paid")

    first = reading.read_page(after=None, patterns=["order.paid"], limit=5, most_positions=4)
    second = reading.read_page(after=first.cursor.position, patterns=["order.paid"], limit=5)

    assert (list(first.events), first.cursor.position, first.is_end) == ([], 4, False)
    assert [event.data["name"] for event in second.events] == ["paid"]
    assert second.is_end


def test_old_events_are_deleted_and_a_cursor_before_them_is_refused(api, settings, monkeypatch):
    monkeypatch.setattr(reading, "SWEPT_PER_TRANSACTION", 2)
    for name in "abc":
        publish(name)
    beginning = api.read("/events?limit=1")["next"]
    old = ago(seconds=settings.EVENT_RETENTION_SECONDS + 60)
    FeedEvent.objects.filter(position=2).update(at=old)
    assert reading.delete_old() == 0, "none may be missing between the young ones"
    with shifted(seconds=settings.EVENT_RETENTION_SECONDS + 60):
        record("young")
        publish("unsequenced")
        assert reading.delete_old() == 3
        assert reading.delete_old() == 0

        # The tokens of before have expired.
        api = client_of(reader())
        assert problem_of(api.get(f"/events?after={beginning}")) == (410, "cursor_expired")
        assert names_of(api.read("/events")) == ["young", "unsequenced"]
        # This reader has seen the last one that was deleted.
        seen = reading.encode_cursor(reading.Cursor(3))
        assert names_of(api.read(f"/events?after={seen}")) == ["young", "unsequenced"]


def test_a_reader_whose_events_are_deleted_while_it_reads_is_refused(monkeypatch, settings):
    publish("a", "b")
    chosen_by = reading.chosen_by

    def delete_first(patterns):
        with shifted(seconds=settings.EVENT_RETENTION_SECONDS + 60):
            reading.delete_old()
        return chosen_by(patterns)

    monkeypatch.setattr(reading, "chosen_by", delete_first)
    with pytest.raises(CursorExpired):
        reading.read_page(after=0, patterns=[], limit=10)


def _record_and_fail():
    rows.insert_events([rows.NewEvent(uuid4(), "order.paid", None, clock.now(), '{"name": "undone"}')])
    # The statement was deferred: any other one takes it along.
    FeedState.objects.exists()
    raise ZeroDivisionError


def test_many_runs_of_ids_are_sequenced_in_batches(monkeypatch):
    monkeypatch.setattr(sequencing, "RUNS_PER_TRANSACTION", 3)
    for name in "abcdefgh":
        record(name)
        # A transaction that is undone keeps its ids.
        with pytest.raises(ZeroDivisionError):
            transactions.run(_record_and_fail, transactions.ONCE)
    assert sequencing.sequence() == 8
    assert FeedState.objects.get().last_position == 8
    assert Follower(reader(), limit=3).read_all() == list("abcdefgh")


def test_a_product_that_sells_out_and_returns_has_an_event_each(api):
    product = ProductFactory(on_hand=2)
    for delta in (-1, -1, 3, 2):
        adjustments.adjust(product_id=product.pk, delta=delta, reason="Counted.")
    sequencing.sequence()

    events = api.rows("/events?type=product.*")

    available = [(event["type"], event["data"]["available"]) for event in events]
    assert available == [(catalogue.SOLD_OUT, 0), (catalogue.RESTOCKED, 3)]
    assert {event["data"]["product"] for event in events} == {product.pk}


def test_the_data_names_what_the_line_is_about_and_nothing_of_the_actor():
    order_id = uuid4()

    by = journal.ActorContext("staff", 7, "ada", "request")
    given_back = {"what": "coupon.given_back", "subject": "coupon 1234", "after": {"status": "issued"}}

    def work():
        journal.note(**given_back, order_id=order_id, by=by)
        journal.note(what="account.signed_in", subject="account 7", after={"address": "192.0.2.1"})

    transactions.run(work, transactions.ONCE)
    event = FeedEvent.objects.get()
    assert (event.type, event.order_id) == ("coupon.released", order_id)
    assert event.data == {"coupon": "1234", "order": str(order_id), "status": "issued"}


def test_a_shared_code_is_in_no_event(api):
    """Its readers may not be allowed to read campaigns, and the code is worth most before the opening."""
    terms = {"name": "Drop", "quantity": 9, "discount_type": "amount", "discount_value": 5}
    opens_at = from_now(days=7)
    campaign = campaigns.create(**terms, opens_at=opens_at, code_source="shared", shared_code="SECRET-1")
    change(campaign, shared_code="SECRET-2", quantity=10)
    sequencing.sequence()

    answer = api.get("/events?type=campaign.*")

    created, changed = (event["data"] for event in answer.json()["results"])
    assert (created["quantity"], changed) == (9, {"campaign": campaign.pk, "quantity": 10})
    assert "SECRET" not in answer.text
    assert journal_line("campaign.created").after["shared_code"] == "SECRET-1"


def test_a_cursor_beyond_the_last_position_is_refused_rather_than_waited_for():
    """As after the promotion of a server that lacks it: events that get these positions would be skipped."""
    with pytest.raises(Invalid):
        reading.read_page(after=1, patterns=[], limit=1)


def test_a_cursor_of_before_a_restore_is_refused_with_its_instant(api):
    """Also one whose position is given again: it would skip the events before that."""
    publish("a", "b")
    publish("c")
    cursors = [api.read("/events?limit=2")["next"], api.read("/events")["next"]]
    cursors.append(reading.encode_cursor(reading.Cursor(sequencing.GAP + 5)))
    lose_by_a_restore(after=2)
    publish(*"defghi")

    for cursor in cursors:
        answer = api.get(f"/events?after={cursor}")
        assert problem_of(answer) == (410, "cursor_expired")
        restored_at = datetime.fromisoformat(answer.json()["restored_at"])
        assert abs(restored_at - clock.now()) < timedelta(minutes=1)

    first = api.read("/events?limit=3")
    assert names_of(first) == ["a", "b", "d"], "the gap has no page of its own"
    assert names_of(api.read(f"/events?after={first['next']}")) == list("efghi")


def test_a_second_restore_of_the_same_backup_refuses_the_cursors_of_after_the_first(api):
    publish("a")
    backup = FeedState.objects.get()
    lose_by_a_restore(after=1)
    cursor = api.read("/events")["next"]
    assert api.rows(f"/events?after={cursor}") == []

    backup.save()
    with shifted(seconds=60):
        lose_by_a_restore(after=1)

    assert api.get(f"/events?after={cursor}").json()["code"] == "cursor_expired"


def test_a_program_of_the_database_jumps_the_gap_of_a_restore():
    """As a webhook endpoint, whose position is restored with the feed."""
    publish("a", "b")
    publish("c")
    lose_by_a_restore(after=2)
    assert reading.missing_positions() == 0
    assert [law.offenders for law in audit.audit()] == [[]] * 3

    publish("d")

    page = reading.read_page(after=2, patterns=[], limit=10, most_positions=1)
    assert ([event.data["name"] for event in page.events], page.is_end) == (["d"], True)
    assert reading.missing_positions() == 0
    assert [law.offenders for law in audit.audit()] == [[]] * 3
    with shifted(days=9):
        reading.delete_old()
    assert reading.missing_positions() == 0


@pytest.mark.boots("a Python process")
def test_events_are_sequenced_and_read_on_sqlite(tmp_path):
    with another_process(ON_SQLITE, DATABASE_URL=f"sqlite:///{tmp_path}/feed.sqlite3") as process:
        assert read_line(process) == "sqlite ['b', 'c', 'd'] 4"


def test_the_doctor_names_events_without_positions_and_positions_without_events():
    publish("a", "b", "c")
    assert {finding.level for finding in doctor.examine()} == {"ok"}
    with shifted(minutes=-2):
        record("forgotten")
    FeedEvent.objects.get(run_offset=1).delete()
    levels = {finding.check: finding.level for finding in doctor.examine()}
    assert (levels["event feed"], levels["positions of events"]) == ("warning", "warning")


FORMATTED = {"order", "stock", "product", "campaign", "sale"}
"""Whose names are put together where they are written: `order.{status}`."""


def test_each_term_of_a_campaign_a_sale_and_a_product_is_in_its_events_but_the_shared_code():
    """A new term is decided about here: events are for programs that may not read what they name."""
    for type in ("created", "changed"):
        assert {*campaigns.TERMS} - {*catalogue.MEMBERS[f"campaign.{type}"]} == {"shared_code"}
        assert {*catalogue.MEMBERS[f"sale.{type}"]} == {*terms.TERMS, "products"}
        assert {*catalogue.MEMBERS[f"product.{type}"]} == {*products.TERMS}


def test_the_page_has_a_row_for_each_type_which_names_its_members_and_none_besides():
    page = documented.page("reference/events.md")
    members = catalogue.MEMBERS | {catalogue.SKIPPED: ("from", "to"), catalogue.TEST: ()}
    assert sorted(re.findall(r"^\| `([a-z_.]+)` \|", page, re.MULTILINE)) == sorted(members)
    for type, described in re.findall(r"^\| `([a-z_.]+)` \|.*\| (.*) \|$", page, re.MULTILINE):
        if "terms" in described or "those that changed" in described:
            continue
        # Behind a colon are the members of a member.
        own = described.replace(": null", "").replace("as `order.paid`", "").partition(": ")[0]
        named = re.findall(r"`([a-z_]+)`", own)
        of_order = {*catalogue.MEMBERS["order.paid"]} if "as `order.paid`" in described else set()
        subject = {"order", "coupon", "product"}
        assert {*named, *of_order} - subject == {*members[type]} - subject, type


def test_each_line_of_the_journal_that_is_an_event_is_written_somewhere():
    files = [file for app in places.APPS for file in (places.PROJECT / app).rglob("*.py")]
    text = "\n".join(one.read_text() for one in files if not {"tests", "catalogue.py"} & set(one.parts))
    for what in catalogue.FROM_JOURNAL:
        group = what.partition(".")[0]
        is_formatted = group in FORMATTED and re.search(rf'f"(?:{group}|\{{[\w.]+\}})\.\{{', text)
        assert f'"{what}"' in text or is_formatted, what
