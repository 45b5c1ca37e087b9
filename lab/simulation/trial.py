"""One simulated run: clients and faults for some steps, then rest, and what must hold in the end."""

import multiprocessing
import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection
from django.db.models import QuerySet, Subquery

from coupons import issuing, partners, tasks
from coupons.allocation.outcomes import Queued
from coupons.codes import eligible_accounts
from coupons.models import Campaign, Confirmation, Coupon, PoolCode, QueueTicket
from coupons.partners import confirmation
from coupons.partners.contract import PartnerReply
from coupons.queue import worker
from events.feed import sequencing
from events.models import FeedEvent, FeedState, WebhookDelivery, WebhookEndpoint
from events.webhooks import data_platform, sending
from events.webhooks.endpoints import DATA_PLATFORM_EVENTS
from foundation import clock, journal
from foundation.approval_models import Approval
from foundation.errors import FirstcomeError
from foundation.operations.audits import laws
from lab.simulation import clients, shop
from lab.simulation.clients import ACCOUNTS, OPERATORS, Answers, Client, Operator
from lab.simulation.outside import Gateway, Partner, Receiver
from lab.simulation.processes import Processes
from lab.simulation.shop import CAMPAIGNS, COUPONS
from lab.simulation.world import MOST, SECONDS, chance, install_faults
from orders.models import Order, Saga
from orders.saga import operator_actions
from payments import gateways, points_grants
from payments.models import Entry, Payment, Transfer
from payments.reconciliation import reconciling
from sales.models import SaleEntry
from scripts.stack import Lines

Findings = Iterator[str]  # What is wrong, a sentence each
CUSTOMERS = 4  # of the accounts; the others are collectors
BLANK = sqlite3.connect(":memory:")  # The tables of a shop in which nothing has happened


class Outcome(NamedTuple):
    """What was found in a run, and what came of it: `last` are its last steps."""

    findings: Lines
    orders: int
    steps: int
    digest: str
    last: Lines


def prepare() -> None:
    """Make the tables once; each run begins with a copy."""
    call_command("migrate", verbosity=0)
    connection.connection.backup(BLANK)
    install_faults()


def run(seed: str) -> Outcome:
    """Run one seed in a process of its own: what the shop remembers of a run is in no other one."""
    receiving, sending_end = multiprocessing.Pipe(duplex=False)
    child = multiprocessing.get_context("fork").Process(target=_run, args=(seed, sending_end))
    child.start()
    # Else the end of one that fails would not be the end of what it sends.
    sending_end.close()
    try:
        outcome: Outcome = receiving.recv()
    finally:
        child.join()
    return outcome


def _run(seed: str, outcomes: Connection) -> None:
    """Run one seed from the beginning, and send what was found, and what came of it."""
    connection.ensure_connection()
    BLANK.backup(connection.connection)
    chance.begin(seed)
    processes = Processes()
    platform = Receiver()
    program = Receiver()
    gateway: Any = Gateway(processes)
    partner = Partner(processes)
    gateways.GATEWAYS["simulator"] = replace(gateways.GATEWAYS["simulator"], load=lambda: gateway)
    partners.PARTNERS["convenience_store"] = lambda: partner
    data_platform.send = platform.send
    sending.send = lambda endpoint, *, id, payload: program.send([payload])
    clients.open_shop()
    issuing.forget()
    confirmation.reset()
    processes.start()
    for id in OPERATORS:
        User.objects.create(username=f"operator-{id}", is_staff=True, is_superuser=True)
    WebhookEndpoint.objects.create(
        owner_id=OPERATORS[0],
        created_at=clock.now(),
        url="http://127.0.0.1:1/",
        secret="not read",  # noqa: S106
        events=["order.*"],
    )
    answers = Answers()
    customers = [Client(processes, answers, id, shop.CUSTOMER) for id in ACCOUNTS[:CUSTOMERS]]
    collectors = [Client(processes, answers, id, shop.COLLECTOR) for id in ACCOUNTS[CUSTOMERS:]]
    operators = [Operator(processes, answers, id, shop.OPERATOR) for id in OPERATORS]
    for client in [*customers, *collectors, *operators]:
        client.go_on(client.live())
    while processes.steps < MOST.steps:
        processes.step()
    findings = [f"not settled: {one}" for one in _settle(processes, gateway, answers)]
    for law in laws.audit():
        if not law.holds:
            findings.append(f"{law.law} is broken: {law.offenders[:5]}")
    findings += [*_of_answers(answers, partner), *_of_operators(answers)]
    charge_keys = Payment.objects.values_list("charge_key", flat=True)
    for key in sorted({*gateway.book} - {*charge_keys}):
        findings.append(f"charge {key} is of no payment")
    for key, one in gateway.book.items():
        if one.status == "pending":
            findings.append(f"charge {key} is open")
    events = FeedEvent.objects.order_by("id")
    findings += _of_events("data platform", platform, events.filter(type__in=DATA_PLATFORM_EVENTS))
    findings += _of_events("program", program, events.filter(type__startswith="order."))
    findings += _sell_the_rest()
    digest = processes.trace.hexdigest()
    outcomes.send(Outcome(findings, len(answers.orders), processes.steps, digest, [*processes.last]))


def _settle(processes: Processes, gateway: Gateway, answers: Answers) -> Lines:
    """Stop the faults, and so the clients, and run until nothing is open; returns what is after all."""
    chance.is_faulty = False
    processes.server.connected = True
    until = processes.steps + MOST.steps_to_settle
    still_open = Lines()
    while processes.steps < until:
        for _ in range(100):
            processes.step()
        gateway.close_disputes()
        # Events may have been lost: a comparison of the books tells what none has told.
        reconciling.reconcile(fix=reconciling.Fix.OURS)
        for saga_id in (
            Saga.objects.filter(state=Saga.State.STUCK).order_by("id").values_list("id", flat=True)
        ):
            with suppress(FirstcomeError):
                operator_actions.retry(saga_id=saga_id, reason="simulated", by=journal.SYSTEM)
        still_open = _open_rows() + [f"{call}" for call in answers.calls_open]
        if not still_open:
            break
    return still_open


def _open_rows() -> Lines:
    """What has not ended yet."""
    last = FeedState.objects.values("last_position")
    unsettled: tuple[QuerySet[Any], ...] = (
        Saga.objects.filter(ended_at=None),
        Order.objects.filter(status=Order.Status.AWAITING_PAYMENT),
        sequencing.unsequenced(),
        WebhookDelivery.objects.filter(status=WebhookDelivery.Status.PENDING),
        WebhookEndpoint.objects.filter(position__lt=Subquery(last)),
        QueueTicket.objects.filter(status=QueueTicket.Status.WAITING),
        Confirmation.objects.all(),
    )
    result = []
    for rows in unsettled:
        for row in rows.order_by("pk")[:5]:
            result.append(f"{type(row).__name__} {row.pk}")
    return result


def _of_answers(answers: Answers, partner: Partner) -> Findings:
    """What clients were answered is there, and nothing is of which no client, or no partner, knows."""

    def ids(model: Any, *columns: str, **which: Any) -> set[Any]:
        return set(model.objects.filter(**which).values_list(*columns or ["pk"], flat=len(columns) < 2))

    registered = {
        partner.codes[key] for key, reply in partner.replies.items() if reply is PartnerReply.REGISTERED
    }
    coupons = ids(Coupon, "account_id", "campaign_id", "code", account_id__in=ACCOUNTS)
    differences: dict[str, set[Any]] = {
        "order": {*answers.orders} ^ ids(Order),
        "saga": {*answers.sagas} - ids(Saga),
        "entry": answers.entries ^ ids(SaleEntry),
        "ticket": answers.tickets - ids(QueueTicket),
        "coupon": {(*owned, code) for owned, code in answers.coupons.items()} ^ coupons,
        "code": registered ^ ids(Coupon, "code", campaign__partner__gt=""),
    }
    yield from answers.contradictions
    for name, rows in differences.items():
        for row in sorted(rows, key=str):
            yield f"{name} {row} is on one side only"


def _of_operators(answers: Answers) -> Findings:
    """What operators were answered that is not so, and points that nobody granted, or granted once more."""
    asked = Approval.objects.filter(kind=points_grants.GRANT)
    if sorted(asked.values_list("reason", flat=True)) != sorted(answers.asked):
        yield f"approvals of grants: {len(answers.asked)} were asked for, {len(asked)} are there"
    for row in Approval.objects.order_by("id"):
        if answers.decided.get(row.pk, row.status) != row.status:
            yield f"approval {row.pk} was answered to be {answers.decided[row.pk]}, and is {row.status}"
    approved = asked.filter(status=Approval.Status.APPROVED)
    granted = answers.granted | {row.reason: answers.asked[row.reason] for row in approved}
    due = sorted((reason, *each) for reason, each in granted.items())
    entries = Entry.objects.filter(transfer__kind=Transfer.Kind.GRANT, amount__gt=0)
    entries = entries.exclude(transfer__reference__startswith="opening ")
    found = sorted(entries.values_list("transfer__reason", "account_id", "amount"))
    if found != due:
        yield f"points granted: {due} by the answers, {found} by the ledger"


def _of_events(name: str, receiver: Receiver, events: "QuerySet[FeedEvent]") -> Findings:
    """Whether it got each of these events, and those of an order in the sequence in which they happened."""
    order_of = {str(id): order_id for id, order_id in events.values_list("event_id", "order_id")}
    for order in {*order_of.values(), None}:
        sent = [id for id in order_of if order_of[id] == order]
        got = [id for id in receiver.events if order_of.get(id) == order]
        if sorted(sent) != sorted(got) or (order and sent != got):
            yield f"{name}: {len(got)} of {len(sent)} events of {order}, or out of sequence"


def _sell_the_rest() -> Findings:
    """Each campaign still issues as many coupons as it has left, and no more."""
    chance.pass_time(SECONDS.healing)
    tasks.sweep()
    for number in range(COUPONS + 1):
        account = User.objects.create(username=f"late-{number}").pk
        for campaign_id, terms in CAMPAIGNS.items():
            if "eligible" in terms:
                eligible_accounts.add(campaign_id=campaign_id, account_ids=[account])
            # A refusal shows in the campaign's count.
            with suppress(FirstcomeError):
                if isinstance(issuing.issue(campaign_id=campaign_id, user_id=account), Queued):
                    worker.serve_once()
    codes = PoolCode.objects.filter(status=PoolCode.Status.IN_FLIGHT).count()
    if codes:
        yield f"{codes} codes are in flight for ever"
    for one in Campaign.objects.exclude(issued=COUPONS):
        yield f"campaign {one.pk} ({one.strategy}): {one.issued} of {COUPONS} are issued"
