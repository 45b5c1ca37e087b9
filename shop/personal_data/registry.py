"""The registry of every model: how its rows belong to an account, or why they don't.

The export reads it, docs/privacy.md shows it as a table, and a test fails for a model without an entry.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from django.apps import apps
from django.db.models import Model, Q, QuerySet

from orders.models import Refund, Saga, SagaLog
from payments.models import Payment, Transfer, WebhookEvent
from shop.accounts import accounts, sign_outs
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


@dataclass(frozen=True, slots=True)
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


def journal_lines_of(account_id: int) -> "QuerySet[JournalLine]":
    """The lines that the account caused, and those about it, its wallet or its orders.

    Each part has an index of its own: one condition for all of them would read the whole journal.
    """
    subjects = [accounts.journal_subject(account_id), f"wallet {account_id}"]
    orders = [order.pk for order in rows_of("orders.Order", account_id).only("pk")]
    parts = (Q(actor_id=account_id), Q(subject__in=subjects), Q(order_id__in=orders))
    found = {pk for part in parts for pk in JournalLine.objects.filter(part).values_list("pk", flat=True)}
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


FOR_GOOD = "for good, as the shop's books"
UNTIL_ARCHIVED = "until its month is [archived](#archived-months)"
A_DAY = "`IDEMPOTENCY_RETENTION_SECONDS`, a day"
REGISTRY: Mapping[str, PersonalData | NotPersonal] = {
    "auth.User": PersonalData(
        "pk",
        Erasure.REPLACED,
        "until the erasure; then a row without a name",
        secrets=frozenset({"password"}),
    ),
    "auth.User_groups": PersonalData("user", Erasure.DELETED, "as long as the right"),
    "auth.User_user_permissions": PersonalData("user", Erasure.DELETED, "as long as the right"),
    "admin.LogEntry": PersonalData(
        "user", Erasure.REPLACED, "for good: Django's own log of what staff changed"
    ),
    "sessions.Session": PersonalData(
        "the session's data, decoded",
        Erasure.DELETED,
        "until it expires, or a sign-out",
        rows=sign_outs.sessions_of,
        secrets=frozenset({"session_key", "session_data"}),
    ),
    "otp_totp.TOTPDevice": PersonalData(
        "user", Erasure.DELETED, "until it is reset", secrets=frozenset({"key"})
    ),
    "otp_static.StaticDevice": PersonalData("user", Erasure.DELETED, "until it is reset"),
    "otp_static.StaticToken": PersonalData(
        "device__user", Erasure.DELETED, "until it is used or reset", secrets=frozenset({"token"})
    ),
    "shop.IdempotencyKey": PersonalData("account", Erasure.DELETED, A_DAY),
    "shop.ApiKey": PersonalData(
        "maker", Erasure.DELETED, "until its maker's erasure, also when it is revoked"
    ),
    "shop.ApiKeySecret": PersonalData(
        "key__maker",
        Erasure.DELETED,
        "until its key is revoked, or 24 hours after a rotation and until the next one",
        secrets=frozenset({"secret_hash"}),
    ),
    "shop.Approval": PersonalData(
        "who asked, who decided, and the account that it benefits",
        Erasure.REPLACED,
        FOR_GOOD,
        rows=_approvals_of,
    ),
    "shop.SignOut": PersonalData("account", Erasure.KEPT, "for good: it refuses the tokens of before"),
    "shop.JournalLine": PersonalData(
        "actor, subject or order",
        Erasure.REPLACED,
        "until its month is [archived](#archived-months); lines about accounts for good",
        rows=journal_lines_of,
    ),
    "shop.FeedEvent": PersonalData(
        "the account in its data, or its order",
        Erasure.KEPT,
        "`EVENT_RETENTION_SECONDS`, eight days",
        rows=_feed_events_of,
    ),
    "coupons.Coupon": PersonalData("account", Erasure.KEPT, FOR_GOOD),
    "coupons.PoolCode": PersonalData("coupon__account", Erasure.KEPT, FOR_GOOD),
    "coupons.Confirmation": PersonalData("account", Erasure.OPEN, "until the partner has answered"),
    "coupons.EligibleAccount": PersonalData(
        "account", Erasure.DELETED, "until staff remove it from the list"
    ),
    "coupons.FirstOrderUse": PersonalData("account", Erasure.KEPT, FOR_GOOD),
    "shop.ArchivedPaidEvent": PersonalData(
        "order", Erasure.KEPT, "as long as its month is archived", rows=_archived_paid_events_of
    ),
    "coupons.QueueTicket": PersonalData("account", Erasure.KEPT, UNTIL_ARCHIVED),
    "inventory.StockMovement": PersonalData("order__account", Erasure.KEPT, UNTIL_ARCHIVED),
    "sales.SaleEntry": PersonalData("account", Erasure.KEPT, FOR_GOOD),
    "orders.Order": PersonalData("account", Erasure.KEPT, FOR_GOOD),
    "orders.OrderLine": PersonalData("order__account", Erasure.KEPT, FOR_GOOD),
    "orders.Refund": PersonalData("order__account", Erasure.KEPT, FOR_GOOD),
    "orders.RefundLine": PersonalData("refund__order__account", Erasure.KEPT, FOR_GOOD),
    "orders.Saga": PersonalData("its payment or refund", Erasure.KEPT, FOR_GOOD, rows=sagas_of),
    "orders.SagaLog": PersonalData(
        "its saga's payment or refund", Erasure.KEPT, FOR_GOOD, rows=_saga_logs_of
    ),
    "payments.LedgerAccount": PersonalData("user", Erasure.KEPT, FOR_GOOD),
    "payments.Transfer": PersonalData("its entries or order", Erasure.KEPT, FOR_GOOD, rows=_transfers_of),
    "payments.GrantsOfDay": PersonalData("operator_id", Erasure.KEPT, FOR_GOOD),
    "payments.Entry": PersonalData("account__user", Erasure.KEPT, FOR_GOOD),
    "payments.Payment": PersonalData(
        "account", Erasure.KEPT, FOR_GOOD, secrets=frozenset({"token", "action_url"})
    ),
    "payments.Dispute": PersonalData("payment__account", Erasure.KEPT, FOR_GOOD),
    "payments.WebhookEvent": PersonalData(
        "the charge key of a payment", Erasure.KEPT, "90 days after it was handled", rows=_webhook_events_of
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
