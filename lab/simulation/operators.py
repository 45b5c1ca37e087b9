"""Two operators of a simulated run, who force sagas, grant points and decide what the other one asked for."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User

from lab.simulation.clients import Client, Shop
from lab.simulation.determinism import chance
from lab.simulation.processes import Processes
from orders import tasks as order_tasks
from orders.models import Saga
from orders.saga import operator_actions
from payments import points_grants
from payments.models import Entry, Transfer
from shop import approvals, clock
from shop.approval_models import Approval
from shop.errors import FirstcomeError
from shop.idempotency.recorded_answers import Answer, KeyedCall, key_hash
from shop.journal import journal
from shop.journal.journal import Actor, ActorContext
from shop.operations import dispatch

ACTIONS = {"grant": 3, "force": 4, "decide": 3}
SHARE_OF_LARGE = 0.4
"""How many grants are above the limit of one."""
INVENTED = "ch_invented"
REFUSALS_OF_FORCING = {
    "charge_not_found",
    "gateway_disagrees",
    "reference_differs",
    "saga_being_undone",
    "saga_changed",
    "saga_ended",
    "saga_not_reversible",
    "step_is_local",
    "step_not_hanging",
}


@dataclass
class Book:
    """What the operators were answered."""

    operators: list[int]
    granted: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Accounts and amounts by the grants' reasons, which are unique."""
    of_day: Counter[tuple[int, Any]] = field(default_factory=Counter)
    """What each operator granted in a day without one."""
    asked: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Likewise grants that wait or waited for one."""
    decided: dict[int, str] = field(default_factory=dict)
    """How approvals were answered to be decided."""


class Operator(Client):
    """One operator. Its calls are repeated as those of customers are."""

    def __init__(self, processes: Processes, shop: Shop, user: User, book: Book) -> None:
        super().__init__(processes, shop, user.pk, actions=ACTIONS)
        self._by = ActorContext(Actor.STAFF, user.pk, user.username)
        self._book = book

    def _acting(self, work: Callable[..., Any], **named: Any) -> Callable[[], Any]:
        def act() -> Any:
            with journal.acting(self._by):
                return work(**named)

        return act

    def _grant(self, key: str) -> None:
        """Grant points, perhaps so many that they have to be asked for."""
        is_large = chance.random.random() < SHARE_OF_LARGE
        limit = settings.GRANT_LIMIT_AMOUNT
        amount = chance.random.randint(*((limit + 1, 10 * limit) if is_large else (1, limit)))
        user_id = chance.random.choice([*self.shop.accounts, *self._book.operators])
        day = (self.account_id, clock.now().date())
        is_over = is_large or self._book.of_day[day] + amount > settings.GRANT_DAY_AMOUNT
        due = "own_account" if user_id == self.account_id else "approval_required" if is_over else ""
        call = KeyedCall(self.account_id, key_hash(key), "fingerprint", lambda _: Answer(200, b"{}"))
        wanted = {"user_id": user_id, "amount": amount, "reason": key, "keyed": call}

        def compare(code: str) -> None:
            if code != due:
                self._contradict(f"grant of {amount} to {user_id}: {code or 'done'}, due is {due or 'done'}")

        def answered(_: Any) -> None:
            compare("")
            self._book.granted[key] = user_id, amount
            self._book.of_day[day] += amount

        def refused(error: FirstcomeError) -> None:
            compare(error.code)
            if error.code == points_grants.APPROVAL_REQUIRED:
                self._book.asked[key] = user_id, amount
                ask = self._acting(points_grants.ask_to_grant, **wanted)
                self._call(f"ask {key}", ask, lambda _: None, goes_on=False)

        self._call("grant", self._acting(points_grants.grant, **wanted), answered, refused=refused)

    def _force(self, key: str) -> None:
        """Retry, complete or compensate a saga that has not ended, a stuck one if there is any."""
        unfinished = Saga.objects.filter(ended_at=None).order_by("id").values_list("id", flat=True)
        ids = list(unfinished.filter(state=Saga.State.STUCK)) or list(unfinished[:3])
        if not ids:
            self._next()
            return
        saga_id, of = chance.random.choice(ids), {"reason": key, "by": self._by}
        actions = [operator_actions.retry, operator_actions.force_complete, operator_actions.force_compensate]
        act: Any = chance.random.choice(actions)
        if act is operator_actions.force_complete and chance.random.random() < 0.3:
            of["reference"] = INVENTED

        def answered(_: Any) -> None:
            dispatch.enqueue(order_tasks.advance)

        def refused(error: FirstcomeError) -> None:
            if error.code not in REFUSALS_OF_FORCING:
                self._contradict(f"{act.__name__} of saga {saga_id}: {error.code}")

        self._call("force", partial(act, saga_id=saga_id, **of), answered, refused=refused)

    def _decide(self, key: str) -> None:
        """Approve or refuse something that is asked for, one's own and what is decided among it."""
        rows = list(Approval.objects.order_by("-id")[:4])
        if not rows:
            self._next()
            return
        row = chance.random.choice(rows)
        act: Any = chance.random.choice([approvals.approve, approvals.approve, approvals.refuse])
        refusals = {row.asker_id: "own_approval", row.account_id: "own_account"}
        due = refusals.get(self.account_id, "") if act is approvals.approve else ""
        due = due if row.status == Approval.Status.WAITING else "approval_decided"

        def answered(decided: Approval) -> None:
            if due or self._book.decided.setdefault(decided.pk, decided.status) != decided.status:
                self._contradict(f"approval {row.pk} is {decided.status} by {self._by.name}, due is {due}")

        def refused(error: FirstcomeError) -> None:
            # The other one may have been faster, and so may an attempt of this call without an answer.
            may = {due, "approval_decided"}
            may |= REFUSALS_OF_FORCING if row.kind == operator_actions.FORCE else set()
            if error.code not in may:
                self._contradict(f"{act.__name__} of approval {row.pk}: {error.code}, due is {due or 'done'}")

        self._call("decide", self._acting(act, approval_id=row.pk, reason=key), answered, refused=refused)


def findings(book: Book) -> Iterator[str]:
    """What operators were answered that is not so, and points that nobody granted, or granted once more."""
    rows = {row.reason: row for row in Approval.objects.filter(kind=points_grants.GRANT)}
    if rows.keys() != book.asked.keys():
        yield f"approvals of grants: {len(book.asked)} were asked for, {len(rows)} are there"
    for row in Approval.objects.order_by("id"):
        if book.decided.get(row.pk, row.status) != row.status:
            yield f"approval {row.pk} was answered to be {book.decided[row.pk]}, and is {row.status}"
    approved = {why: book.asked[why] for why, row in rows.items() if row.status == Approval.Status.APPROVED}
    due = sorted((why, *granted) for why, granted in (book.granted | approved).items())
    entries = Entry.objects.filter(transfer__kind=Transfer.Kind.GRANT, amount__gt=0)
    entries = entries.exclude(transfer__reference__startswith="opening ")
    found = sorted(entries.values_list("transfer__reason", "account_id", "amount"))
    if found != due:
        yield f"points granted: {due} by the answers, {found} by the ledger"
