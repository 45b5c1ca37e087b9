"""The registry of every model: how its rows belong to an account, or why they don't.

The export reads it, docs/privacy.md shows it as a table, and a test fails for a model without an entry.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from django.apps import apps
from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.models import Session
from django.db.models import Model, Q, QuerySet

from orders.models import Refund, Saga, SagaLog
from payments.models import Payment, Transfer, WebhookEvent
from shop.accounts import accounts
from shop.approval_models import Approval
from shop.feed_models import FeedEvent
from shop.models import ArchivedPaidEvent, JournalLine

Rows = QuerySet[Any, Any]


class Erasure(Enum):
    """What the erasure of an account does to the rows; the values are for docs/privacy.md."""

    REPLACED = "names are replaced by the pseudonym"
    KEPT = "kept: they name the account by its number alone"
    DELETED = "deleted"
    OPEN = "none is left: an erasure is refused while one is open"


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonalData:
    """A model with rows of accounts.

    `path` leads from the model to the account's number. Where there is no foreign key, `rows` finds the rows,
    and `path` says by what. `secrets` are columns that the export leaves out.
    """

    path: str
    erasure: Erasure
    kept: str
    rows: Callable[[int], Rows] | None = None
    secrets: frozenset[str] = field(default_factory=frozenset)


@dataclass(frozen=True, slots=True)
class NotPersonal:
    """A model whose rows belong to no account, and why."""

    reason: str


def rows_of(label: str, account_id: int) -> Rows:
    """The account's rows of the model with this label, in the order of their keys."""
    entry = REGISTRY[label]
    if not isinstance(entry, PersonalData):
        raise ValueError(f"{label} has no rows of accounts: {entry.reason}.")
    if entry.rows is not None:
        return entry.rows(account_id).order_by("pk")
    model: type[Model] = apps.get_model(label)
    return model._base_manager.filter(**{entry.path: account_id}).distinct().order_by("pk")


def personal_data() -> Mapping[str, PersonalData]:
    """The models with rows of accounts, by their labels."""
    return {label: entry for label, entry in REGISTRY.items() if isinstance(entry, PersonalData)}


def sessions_of(account_id: int) -> list[str]:
    """The keys of the account's sessions, which name it in their encoded data alone; only staff have some."""
    return [
        session.pk
        for session in Session.objects.iterator()
        if session.get_decoded().get(SESSION_KEY) == str(account_id)
    ]


def journal_lines_of(account_id: int) -> "QuerySet[JournalLine]":
    """The lines that the account caused, and those about it, its wallet or its orders.

    Each part has an index of its own: one condition for all of them would read the whole journal.
    """
    subjects = [accounts.journal_subject(account_id), f"wallet {account_id}"]
    orders = [order.pk for order in rows_of("orders.Order", account_id).only("pk")]
    found = set(JournalLine.objects.filter(actor_id=account_id).values_list("pk", flat=True))
    found.update(JournalLine.objects.filter(subject__in=subjects).values_list("pk", flat=True))
    found.update(JournalLine.objects.filter(order_id__in=orders).values_list("pk", flat=True))
    return JournalLine.objects.filter(pk__in=found)


def sagas_of(account_id: int) -> "QuerySet[Saga]":
    """The sagas of the account's payments and refunds."""
    payments = Payment.objects.filter(account_id=account_id).values_list("pk", flat=True)
    refunds = Refund.objects.filter(order__account_id=account_id).values_list("pk", flat=True)
    return Saga.objects.filter(subject_id__in=[*payments, *refunds])


def _saga_logs_of(account_id: int) -> "QuerySet[SagaLog]":
    return SagaLog.objects.filter(saga__in=[*sagas_of(account_id).values_list("pk", flat=True)])


def _webhook_events_of(account_id: int) -> "QuerySet[WebhookEvent]":
    keys = Payment.objects.filter(account_id=account_id).values_list("charge_key", flat=True)
    return WebhookEvent.objects.filter(charge_key__in=[*keys])


def _transfers_of(account_id: int) -> "QuerySet[Transfer]":
    own = Q(entries__account=account_id) | Q(order__account=account_id)
    return Transfer.objects.filter(own).distinct()


def _archived_paid_events_of(account_id: int) -> "QuerySet[ArchivedPaidEvent]":
    orders = rows_of("orders.Order", account_id).values("pk")
    return ArchivedPaidEvent.objects.filter(pk__in=orders)


def _feed_events_of(account_id: int) -> "QuerySet[FeedEvent]":
    """Read without an index: an event is kept for some days alone, and exports are rare."""
    orders = [order.pk for order in rows_of("orders.Order", account_id).only("pk")]
    return FeedEvent.objects.filter(Q(data__account=account_id) | Q(order_id__in=orders))


def _approvals_of(account_id: int) -> "QuerySet[Approval]":
    """Read without an index: there are few, and exports are rare."""
    named = Q(asker_id=account_id) | Q(decider_id=account_id) | Q(account_id=account_id)
    return Approval.objects.filter(named)


def _sessions_of(account_id: int) -> "QuerySet[Session]":
    return Session.objects.filter(pk__in=sessions_of(account_id))


FOR_GOOD = "for good, as the shop's books"
UNTIL_ARCHIVED = "until its month is [archived](#archived-months)"
A_DAY = "`IDEMPOTENCY_RETENTION_SECONDS`, a day"
REGISTRY: Mapping[str, PersonalData | NotPersonal] = {
    "auth.User": PersonalData(
        path="pk",
        erasure=Erasure.REPLACED,
        kept="until the erasure; then a row without a name",
        secrets=frozenset({"password"}),
    ),
    "auth.User_groups": PersonalData(path="user", erasure=Erasure.DELETED, kept="as long as the right"),
    "auth.User_user_permissions": PersonalData(
        path="user", erasure=Erasure.DELETED, kept="as long as the right"
    ),
    "admin.LogEntry": PersonalData(
        path="user",
        erasure=Erasure.REPLACED,
        kept="for good: Django's own log of what staff changed",
    ),
    "sessions.Session": PersonalData(
        path="the session's data, decoded",
        rows=_sessions_of,
        erasure=Erasure.DELETED,
        kept="until it expires, or a sign-out",
        secrets=frozenset({"session_key", "session_data"}),
    ),
    "otp_totp.TOTPDevice": PersonalData(
        path="user",
        erasure=Erasure.DELETED,
        kept="until it is reset",
        secrets=frozenset({"key"}),
    ),
    "otp_static.StaticDevice": PersonalData(path="user", erasure=Erasure.DELETED, kept="until it is reset"),
    "otp_static.StaticToken": PersonalData(
        path="device__user",
        erasure=Erasure.DELETED,
        kept="until it is used or reset",
        secrets=frozenset({"token"}),
    ),
    "shop.IdempotencyKey": PersonalData(path="account", erasure=Erasure.DELETED, kept=A_DAY),
    "shop.ApiKey": PersonalData(
        path="maker", erasure=Erasure.DELETED, kept="until its maker's erasure, also when it is revoked"
    ),
    "shop.ApiKeySecret": PersonalData(
        path="key__maker",
        erasure=Erasure.DELETED,
        kept="until its key is revoked, or 24 hours after a rotation and until the next one",
        secrets=frozenset({"secret_hash"}),
    ),
    "shop.Approval": PersonalData(
        path="who asked, who decided, and the account that it benefits",
        rows=_approvals_of,
        erasure=Erasure.REPLACED,
        kept=FOR_GOOD,
    ),
    "shop.SignOut": PersonalData(
        path="account", erasure=Erasure.KEPT, kept="for good: it refuses the tokens of before"
    ),
    "shop.JournalLine": PersonalData(
        path="actor, subject or order",
        rows=journal_lines_of,
        erasure=Erasure.REPLACED,
        kept="until its month is [archived](#archived-months); lines about accounts for good",
    ),
    "shop.FeedEvent": PersonalData(
        path="the account in its data, or its order",
        rows=_feed_events_of,
        erasure=Erasure.KEPT,
        kept="`EVENT_RETENTION_SECONDS`, eight days",
    ),
    "coupons.Coupon": PersonalData(path="account", erasure=Erasure.KEPT, kept=FOR_GOOD),
    "coupons.PoolCode": PersonalData(path="coupon__account", erasure=Erasure.KEPT, kept=FOR_GOOD),
    "coupons.Confirmation": PersonalData(
        path="account", erasure=Erasure.OPEN, kept="until the partner has answered"
    ),
    "coupons.EligibleAccount": PersonalData(
        path="account", erasure=Erasure.DELETED, kept="until staff remove it from the list"
    ),
    "coupons.FirstOrderUse": PersonalData(path="account", erasure=Erasure.KEPT, kept=FOR_GOOD),
    "shop.ArchivedPaidEvent": PersonalData(
        path="order",
        rows=_archived_paid_events_of,
        erasure=Erasure.KEPT,
        kept="as long as its month is archived",
    ),
    "coupons.QueueTicket": PersonalData(path="account", erasure=Erasure.KEPT, kept=UNTIL_ARCHIVED),
    "inventory.StockMovement": PersonalData(path="order__account", erasure=Erasure.KEPT, kept=UNTIL_ARCHIVED),
    "sales.SaleEntry": PersonalData(path="account", erasure=Erasure.KEPT, kept=FOR_GOOD),
    "orders.Order": PersonalData(path="account", erasure=Erasure.KEPT, kept=FOR_GOOD),
    "orders.OrderLine": PersonalData(path="order__account", erasure=Erasure.KEPT, kept=FOR_GOOD),
    "orders.Refund": PersonalData(path="order__account", erasure=Erasure.KEPT, kept=FOR_GOOD),
    "orders.RefundLine": PersonalData(path="refund__order__account", erasure=Erasure.KEPT, kept=FOR_GOOD),
    "orders.Saga": PersonalData(
        path="its payment or refund", rows=sagas_of, erasure=Erasure.KEPT, kept=FOR_GOOD
    ),
    "orders.SagaLog": PersonalData(
        path="its saga's payment or refund", rows=_saga_logs_of, erasure=Erasure.KEPT, kept=FOR_GOOD
    ),
    "payments.LedgerAccount": PersonalData(path="user", erasure=Erasure.KEPT, kept=FOR_GOOD),
    "payments.Transfer": PersonalData(
        path="its entries or order", rows=_transfers_of, erasure=Erasure.KEPT, kept=FOR_GOOD
    ),
    "payments.GrantsOfDay": PersonalData(path="operator_id", erasure=Erasure.KEPT, kept=FOR_GOOD),
    "payments.Entry": PersonalData(path="account__user", erasure=Erasure.KEPT, kept=FOR_GOOD),
    "payments.Payment": PersonalData(
        path="account", erasure=Erasure.KEPT, kept=FOR_GOOD, secrets=frozenset({"token", "action_url"})
    ),
    "payments.Dispute": PersonalData(path="payment__account", erasure=Erasure.KEPT, kept=FOR_GOOD),
    "payments.WebhookEvent": PersonalData(
        path="the charge key of a payment",
        rows=_webhook_events_of,
        erasure=Erasure.KEPT,
        kept="90 days after it was handled",
    ),
    "auth.Group": NotPersonal("names and permissions of groups; memberships are a model of their own"),
    "auth.Group_permissions": NotPersonal("the permissions of groups"),
    "auth.Permission": NotPersonal("what exists to be permitted"),
    "contenttypes.ContentType": NotPersonal("the names of the models"),
    "shop.CommittedTransaction": NotPersonal("random numbers of transactions, deleted after a day"),
    "shop.RevokedToken": NotPersonal("random ids of used tokens, deleted when these have expired"),
    "shop.LawStatus": NotPersonal("numbers of rows that break a law, overwritten by the next audit"),
    "shop.AuditState": NotPersonal("how far the audit is"),
    "shop.ProcessLease": NotPersonal("names of the shop's own processes"),
    "shop.FeedState": NotPersonal("how many events there were"),
    "shop.WebhookEndpoint": NotPersonal(
        "addresses of other systems, the secrets that sign what they get, and the numbers of staff and keys "
        "that made them"
    ),
    "shop.WebhookDelivery": NotPersonal("numbers of events, and how they were received"),
    "shop.ArchivedMonth": NotPersonal("names and sums of files; a file names accounts by their numbers"),
    "inventory.CarriedStock": NotPersonal("sums of archived stock movements by product"),
    "coupons.Campaign": NotPersonal("what the shop offers, to everyone"),
    "sales.Sale": NotPersonal("when the shop sells what, to everyone"),
    "sales.SaleProduct": NotPersonal("which products a sale has"),
    "coupons.CampaignProduct": NotPersonal("which products a campaign is for, to everyone"),
    "inventory.Product": NotPersonal("what the shop sells, to everyone"),
    "inventory.Delivery": NotPersonal("goods that arrived"),
    "payments.Reconciliation": NotPersonal(
        "numbers of payments and charges that differ, deleted after 30 days"
    ),
}
