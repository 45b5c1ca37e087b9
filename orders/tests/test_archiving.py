"""Archives of the journal: what goes into a file, what stays, what is refused, and that all comes back."""

import gzip
import json
import threading
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core import serializers
from django.core.management import CommandError
from django.db import transaction
from django.test import Client

from accounts import accounts
from accounts.personal_data import erasure, registry
from accounts.signing_in import sign_ins
from accounts.tokens import tokens
from events.models import WebhookDelivery
from events.webhooks import deliveries
from inventory.models import Product
from inventory.tests.factories import ProductFactory
from orders.models import Order
from orders.tests import archived, buying
from orders.tests.archived import JOURNAL, WHY, archive, broken, file_of, old_month, restore, rows_of, run
from orders.tests.stepping import at
from shop import clock
from shop.db import archived_months, commit_marks
from shop.errors import Rejected
from shop.journal import journal
from shop.management.archives import WITHOUT_MONTHS
from shop.models import ArchivedMonth, ArchivedPaidEvent, JournalLine
from shop.operations.archives import archive_files, archive_tables, archiving
from shop.operations.archives.archive_files import ArchiveFailed, FileDamaged
from shop.tests.clients import client_of
from shop.tests.factories import PASSWORD, AccountFactory, SuperuserFactory
from shop.tests.racing import race

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def paid() -> list[Order]:
    orders = archived.sell(3)
    archived.age()
    return orders


def lines_of(path: Path) -> list[Any]:
    with gzip.open(path, "rt") as packed:
        return [json.loads(line) for line in packed]


def test_a_month_goes_into_a_file_and_comes_back_as_it_was(tmp_path, paid):
    before, ready = rows_of(), archived.ready_keys()
    assert len(ready) > 10
    done = archive(tmp_path)
    assert (done.removed, done.kept) == (len(ready), 0)
    assert not JournalLine.objects.filter(pk__in=ready).exists()
    assert broken() == {}
    header, *rows, end = lines_of(tmp_path / done.file)
    assert (header["table"], header["month"], header["part"]) == ("journal", old_month(), 1)
    assert header["columns"] == JOURNAL.columns
    assert {row[0] for row in rows} == ready
    assert end == {"rows": len(ready), "first_key": str(min(ready)), "last_key": str(max(ready))}
    restored = restore(tmp_path / done.file)
    assert restored.rows == len(ready)
    assert rows_of() == before
    assert (ArchivedMonth.objects.count(), ArchivedPaidEvent.objects.count()) == (0, 0)
    assert broken() == {}
    again = archive(tmp_path)
    assert (again.removed, again.part) == (len(ready), 1)
    assert again.file != done.file


def test_lines_whose_work_is_not_done_and_lines_about_accounts_stay(tmp_path, paid, unlawful):
    first, second, third = (order.id for order in paid)
    rows = WebhookDelivery.objects.filter(type="order.paid")
    rows.filter(order_id=first).update(status="pending", next_attempt_at=clock.now(), delivered_at=None)
    rows.filter(order_id=second).update(status="failed", delivered_at=None)
    Order.objects.filter(pk=third).update(status="refunding", placed_at=archived.long_ago())
    for what, subject in ("charge.late", "charge x"), ("account.signed_in", "account 7"), ("x", "account 7"):
        JournalLine.objects.create(at=archived.long_ago(), actor="system", what=what, subject=subject)
    archive(tmp_path)
    left = JournalLine.objects.exclude(what__startswith="archive.")
    others = left.exclude(order_id=third).exclude(subject__startswith="account ")
    assert set(others.values_list("what", flat=True)) == {"order.paid", "charge.late"}
    assert left.filter(order_id=third).count() > 3
    assert left.filter(subject="account 7").count() == 2


def test_rows_whose_work_is_done_later_go_into_another_part(tmp_path, paid):
    line = JournalLine.objects.filter(what="order.paid").order_by("pk")[0]
    row = WebhookDelivery.objects.filter(event_id=line.event_id)
    row.update(status="failed", delivered_at=None)
    assert broken() == {"L12": [str(line.order_id)]}
    first = archive(tmp_path)
    assert broken() == {"L12": [str(line.order_id)]}, "only delivered events are counted for the archive"
    row.update(status="delivered", delivered_at=clock.now())
    second = archive(tmp_path)
    assert (second.part, second.rows) == (2, 1)
    assert broken() == {}
    assert archiving.archive(JOURNAL, old_month(), folder=tmp_path, options=archived.options()) is None
    restore(tmp_path / first.file)
    assert not JournalLine.objects.filter(pk=line.pk).exists()
    restore(tmp_path / second.file)
    assert JournalLine.objects.filter(pk=line.pk).exists()


def test_rows_of_other_months_stay(tmp_path, paid):
    one, other = JournalLine.objects.filter(what="stock.sold").order_by("pk")[:2]
    begin = archived.long_ago().replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    JournalLine.objects.filter(pk=one.pk).update(at=begin - timedelta(microseconds=1))
    JournalLine.objects.filter(pk=other.pk).update(at=begin)
    archive(tmp_path)
    assert JournalLine.objects.filter(pk=one.pk).exists()
    assert not JournalLine.objects.filter(pk=other.pk).exists()


def test_a_month_may_not_be_archived_soon_after_its_end_by_the_databases_clock(tmp_path):
    month = old_month()
    take = partial(archiving.archive, JOURNAL, month, folder=tmp_path, options=archived.options())
    for days in (0, 29):
        with pytest.raises(ArchiveFailed, match="30 days ago or more"):
            take(days=days)
    to_the_90th_day = archive_tables.month_bounds(month)[1] + timedelta(days=90) - clock.now()
    with clock.shifted(by=to_the_90th_day - timedelta(minutes=1)):
        for work in (take, partial(archiving.count, JOURNAL, month)):
            with pytest.raises(ArchiveFailed, match="can be archived from"):
                work()
    with clock.shifted(by=to_the_90th_day + timedelta(minutes=1)):
        assert archiving.count(JOURNAL, month) == 0


def test_a_damaged_or_another_shops_file_is_refused_before_anything_is_restored(tmp_path, paid, unlawful):
    archive(tmp_path)
    path, before = file_of(tmp_path), rows_of()
    whole = path.read_bytes()
    for place in (0, 40, -1, -12):
        damaged = bytearray(whole)
        damaged[place] ^= 0x20
        path.write_bytes(damaged)
        with pytest.raises(FileDamaged):
            restore(path)
        assert rows_of() == before
        assert ArchivedMonth.objects.get().state == "archived"
    path.write_bytes(whole)
    ArchivedPaidEvent.objects.all().delete()
    ArchivedMonth.objects.all().delete()
    with pytest.raises(ArchiveFailed, match="not archived by this shop"):
        restore(path)


def test_a_file_with_columns_that_the_table_lacks_is_refused_and_one_with_fewer_is_read(tmp_path, paid):
    JournalLine.objects.update(reference="")
    before = rows_of()
    archive(tmp_path)
    path = file_of(tmp_path)
    header, *rows, end = lines_of(path)
    place = header["columns"].index("reference")
    names = [*header["columns"][:place], *header["columns"][place + 1 :]]
    fewer = [header | {"columns": names}, *(row[:place] + row[place + 1 :] for row in rows), end]
    replace_file(path, [header | {"columns": [*names, "mood"]}, *rows, end])
    with pytest.raises(ArchiveFailed, match="mood"):
        restore(path)
    replace_file(path, fewer)
    restore(path)
    assert rows_of() == before


def replace_file(path: Path, lines: list[Any]) -> None:
    """Write the file anew, as another release would have."""
    with gzip.open(path, "wb") as packed:
        packed.write(b"".join(json.dumps(line).encode() + b"\n" for line in lines))
    with archive_files.open_file(path) as (opened, _):
        ArchivedMonth.objects.update(size=opened.size, sha256=opened.sha256)


@pytest.mark.parametrize("moment", ["file written", "file complete"])
def test_a_row_that_changes_after_it_was_written_stays_and_is_not_restored_over(tmp_path, paid, moment):
    line = JournalLine.objects.filter(what="order.paid").order_by("pk")[1]

    change = partial(JournalLine.objects.filter(pk=line.pk).update, detail="changed")
    done = archive(tmp_path, failpoint=at(moment, change))
    assert (done.kept, done.removed) == (1, done.rows - 1)
    assert JournalLine.objects.get(pk=line.pk).detail == "changed"
    assert broken() == {}
    later = archive(tmp_path)
    assert (later.part, later.rows) == (2, 1)
    restore(tmp_path / done.file)
    assert not JournalLine.objects.filter(pk=line.pk).exists()
    assert broken() == {}
    restore(tmp_path / later.file)
    assert JournalLine.objects.get(pk=line.pk).detail == "changed"


def test_bytes_that_the_disk_lost_are_noticed_before_anything_is_deleted(tmp_path, paid):
    before = rows_of()
    with pytest.raises(ArchiveFailed):
        archive(tmp_path, failpoint=at("file written", lambda: archived.damage(*tmp_path.iterdir())))
    assert rows_of() == before
    assert (ArchivedMonth.objects.count(), list(tmp_path.iterdir())) == (0, [])


def test_the_laws_count_archived_events_and_name_what_is_missing(tmp_path, paid, unlawful):
    archive(tmp_path)
    assert broken() == {}
    lost = ArchivedPaidEvent.objects.get(pk=paid[1].id)
    ArchivedPaidEvent.objects.filter(pk=lost.pk).delete()
    assert broken() == {"L12": [str(paid[1].id), file_of(tmp_path).name]}
    lost.save(force_insert=True)
    assert broken() == {}
    ArchivedMonth.objects.update(sums={archived_months.PAID_EVENTS: 4})
    assert broken() == {"L12": [file_of(tmp_path).name]}


def test_without_yes_the_commands_change_nothing(tmp_path, paid):
    before = rows_of()
    said = run("archive_month", "journal", old_month())
    assert f"{len(archived.ready_keys())} rows of journal would be archived" in said
    assert (rows_of(), ArchivedMonth.objects.count()) == (before, 0)
    done = archive(tmp_path)
    assert "is whole" in run("restore_month", str(tmp_path / done.file))
    assert ArchivedMonth.objects.get().state == "archived"


def test_the_commands_archive_list_and_restore(tmp_path, paid):
    before, ready = rows_of(), archived.ready_keys()
    assert run("archive_month") == "No month is archived.\n"
    words = ["--yes", "--reason", WHY, "--share", "1", "--json"]
    done = json.loads(run("archive_month", "journal", old_month(), "--folder", str(tmp_path), *words))
    assert done["removed"] == len(ready)
    [listed] = [json.loads(line) for line in run("archive_month", "--json").splitlines()]
    assert (listed["state"], listed["file"]) == ("archived", done["file"])
    path = str(tmp_path / done["file"])
    assert json.loads(run("restore_month", path, *words))["rows"] == len(ready)
    assert rows_of() == before
    assert "restored before: nothing was done" in run("restore_month", path, *words[:-1])
    started = JournalLine.objects.get(what="archive.started")
    assert (started.actor, started.detail) == ("staff", WHY)


def test_wrong_words_are_refused_by_name():
    refusals = [
        (["journal"], "Name a month"),
        (["orders", "2026-01"], "no table orders"),
        (["journal", "July", "--yes", "--reason", WHY, "--folder", "."], "such as 2026-07"),
        (["journal", "2026-01", "--yes"], "needs a --reason"),
        (["journal", "2026-01", "--yes", "--reason", WHY], "--folder names"),
        (["journal", "2026-01", "--batch", "0"], "--batch is 1 to"),
        *(([name, "2026-01"], "are not archived: ") for name in WITHOUT_MONTHS),
    ]
    for words, why in refusals:
        with pytest.raises(CommandError, match=why):
            run("archive_month", *words)


NAME, EMAIL, ADDRESS = "ada-lovelace", "ada.lovelace@example.org", "203.0.113.77"


def ada_buys() -> User:
    """She signs in and buys; staff change her account and export lists: all of it in the old month."""
    ada = AccountFactory.create(username=NAME, email=EMAIL, first_name="Augusta", last_name="Lovelace")
    by = journal.ActorContext(actor="account", id=ada.pk, name=NAME)
    with journal.acting(by):
        sign_ins.sign_in(username=NAME, password=PASSWORD, address=ADDRESS)
        product = ProductFactory.create(on_hand=10, price=500)
        buying.advance(buying.place(ada.pk, {product: 2}, token="tok_ok"))
        with transaction.atomic():
            accounts.note_change("changed", ada.pk, after={"email": EMAIL, "first_name": "Augusta"})
    staff = Client()
    staff.force_login(SuperuserFactory.create(username="staff"))
    for address in (f"/admin/auth/user/export/?q={EMAIL}", f"/admin/shop/journalline/export/?by={NAME}"):
        assert list(staff.get(address))
    archived.age()
    return ada


def test_no_name_and_no_address_of_a_person_is_in_a_file(tmp_path):
    ada = ada_buys()
    assert JournalLine.objects.filter(actor_name=NAME).exclude(subject__startswith="account ").exists()
    assert JournalLine.objects.filter(what="list.exported").count() == 2
    # As releases before have recorded exports.
    exported = {"what": "list.exported", "subject": "list auth.user", "after": {"filters": {"q": [EMAIL]}}}
    JournalLine.objects.create(at=archived.long_ago(), actor="staff", **exported)
    done = archive(tmp_path)
    assert done.removed > 5
    words = gzip.decompress((tmp_path / done.file).read_bytes()).decode()
    assert str(ada.pk) in words
    assert [word for word in (NAME, EMAIL, ADDRESS, "Augusta", "Lovelace") if word in words] == []


@pytest.mark.parametrize("is_erased_first", [True, False], ids=["erased before", "erased after"])
def test_no_restore_brings_an_erased_persons_name_back(tmp_path, is_erased_first, monkeypatch):
    monkeypatch.setattr(erasure, "SETTLING", timedelta(0))
    ada = ada_buys()

    def erase() -> None:
        erasure.start(account_id=ada.pk, reason=WHY)
        erasure.erase(account_id=ada.pk, reason=WHY)

    if is_erased_first:
        erase()
    path = tmp_path / archive(tmp_path).file
    if not is_erased_first:
        erase()
    restore(path)
    lines = JournalLine.objects.filter(actor_id=ada.pk)
    assert set(lines.values_list("actor_name", flat=True)) == {erasure.pseudonym(ada.pk)}
    shown = serializers.serialize("json", JournalLine.objects.all())
    assert [word for word in (NAME, EMAIL, ADDRESS, "Augusta") if word in shown] == []


def test_an_erasure_beside_a_restore_replaces_every_name(tmp_path, monkeypatch):
    monkeypatch.setattr(erasure, "SETTLING", timedelta(0))
    ada = ada_buys()
    path = tmp_path / archive(tmp_path).file
    erasure.start(account_id=ada.pk, reason=WHY)
    is_uncarried = threading.Event()

    def erase() -> None:
        assert is_uncarried.wait(30)
        erasure.erase(account_id=ada.pk, reason=WHY)

    outcomes = race([lambda: restore(path, at("uncarried", is_uncarried.set)), erase])
    assert [outcome for outcome in outcomes if isinstance(outcome, Exception)] == []
    assert not JournalLine.objects.filter(actor_name=NAME).exists()


def test_readers_are_told_which_file_has_what_they_miss(tmp_path, paid):
    order, staff = paid[0], SuperuserFactory.create()
    Order.objects.update(placed_at=archived.long_ago(), paid_at=archived.long_ago())
    Product.objects.update(created_at=archived.long_ago())
    journal_file = archive(tmp_path).file
    movements_file = archive(tmp_path, archived.MOVEMENTS).file
    timeline = f"/orders/{order.id}/timeline"
    assert client_of(order.account).get(timeline).json()["archived"] == [{"month": old_month(), "file": None}]
    assert client_of(staff).get(timeline).json()["archived"] == [{"month": old_month(), "file": journal_file}]
    document = json.loads(registry.export(account_id=order.account_id, reason=WHY))
    assert [one["file"] for one in document["archived"]] == [journal_file, movements_file]
    with pytest.raises(Rejected, match=journal_file) as refused:
        deliveries.resend_order(order_id=order.pk, reason=WHY, settled_refunds=0)
    assert refused.value.code == "events_archived"
    restore(tmp_path / journal_file)
    assert deliveries.resend_order(order_id=order.pk, reason=WHY, settled_refunds=0) > 0
    assert client_of(staff).get(timeline).json().keys() == {"results"}


def test_what_the_sweep_deletes_is_gone_before_its_month_may_be_archived(settings):
    kept = timedelta(seconds=settings.IDEMPOTENCY_RETENTION_SECONDS)
    longest = max(kept, tokens.REFRESH_LIFETIME, commit_marks.RETENTION)
    assert longest < timedelta(days=archiving.MIN_DAYS)
