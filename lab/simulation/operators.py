"""The operators of a simulated run, who force sagas, grant points and decide what another one asked for."""

from collections.abc import Callable
from functools import partial
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User

from lab.simulation.chance import chance
from lab.simulation.clients import Client, Shop, Story
from lab.simulation.processes import Processes
from orders import tasks as order_tasks
from orders.models import Saga
from orders.saga import operator_actions
from payments import points_grants
from shop import approvals, clock
from shop.approval_models import Approval
from shop.errors import FirstcomeError
from shop.idempotency.recorded_answers import Answer
from shop.journal import journal
from shop.journal.journal import Actor, ActorContext
from shop.operations import dispatch

SHARE_OF_LARGE, SHARE_OF_INVENTED = 0.4, 0.3
"""How many grants are above the limit of one, and how many forced charges name a reference that is none."""
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


class Operator(Client):
    """One operator. Its calls are repeated as those of customers are."""

    actions = {"grant": 3, "force": 4, "decide": 3}

    def __init__(self, processes: Processes, shop: Shop, user: User) -> None:
        super().__init__(processes, shop, user.pk)
        self._by = ActorContext(Actor.STAFF, user.pk, user.username)

    def _acting(self, work: Callable[..., Any], **named: Any) -> Callable[[], Any]:
        def act() -> Any:
            with journal.acting(self._by):
                return work(**named)

        return act

    def grant(self, key: str) -> Story:
        """Grant points, perhaps so many that they have to be asked for."""
        is_large, limit = chance.random() < SHARE_OF_LARGE, settings.GRANT_LIMIT_AMOUNT
        amount = chance.randint(*((limit + 1, 10 * limit) if is_large else (1, limit)))
        user_id = chance.choice([*self.shop.accounts, *self.shop.operators])
        day = self.account_id, clock.now().date()
        is_over = is_large or self.shop.granted_in_day[day] + amount > settings.GRANT_DAY_AMOUNT
        due = "own_account" if user_id == self.account_id else "approval_required" if is_over else ""
        keyed = self._keyed(key, lambda _: Answer(200, b"{}"))
        wanted = {"user_id": user_id, "amount": amount, "reason": key, "keyed": keyed}
        code = ""
        try:
            yield "grant", self._acting(points_grants.grant, **wanted)
            self.shop.granted[key] = user_id, amount
            self.shop.granted_in_day[day] += amount
        except FirstcomeError as error:
            code = error.code
        if code != due:
            self._contradict(f"grant of {amount} to {user_id}: {code or 'done'}, due is {due or 'done'}")
        if code == points_grants.APPROVAL_REQUIRED:
            self.shop.asked[key] = user_id, amount
            yield f"ask {key}", self._acting(points_grants.ask_to_grant, **wanted)

    def force(self, key: str) -> Story:
        """Retry, complete or compensate a saga that has not ended, a stuck one if there is any."""
        unfinished = Saga.objects.filter(ended_at=None).order_by("id").values_list("id", flat=True)
        ids = list(unfinished.filter(state=Saga.State.STUCK)) or list(unfinished[:3])
        if not ids:
            return
        of: dict[str, Any] = {"saga_id": chance.choice(ids), "reason": key, "by": self._by}
        actions = [operator_actions.retry, operator_actions.force_complete, operator_actions.force_compensate]
        act: Any = chance.choice(actions)
        if act is operator_actions.force_complete and chance.random() < SHARE_OF_INVENTED:
            of["reference"] = "ch_invented"
        try:
            yield "force", partial(act, **of)
            dispatch.enqueue(order_tasks.advance)
        except FirstcomeError as error:
            if error.code not in REFUSALS_OF_FORCING:
                self._contradict(f"{act.__name__} of saga {of['saga_id']}: {error.code}")

    def decide(self, key: str) -> Story:
        """Approve or refuse something that is asked for, one's own and what is decided among it."""
        rows = list(Approval.objects.order_by("-id")[:4])
        if not rows:
            return
        row = chance.choice(rows)
        act: Any = chance.choice([approvals.approve, approvals.approve, approvals.refuse])
        refusals = {row.asker_id: "own_approval", row.account_id: "own_account"}
        due = refusals.get(self.account_id, "") if act is approvals.approve else ""
        due = due if row.status == Approval.Status.WAITING else "approval_decided"
        try:
            decided = yield "decide", self._acting(act, approval_id=row.pk, reason=key)
            if due or self.shop.decided.setdefault(decided.pk, decided.status) != decided.status:
                self._contradict(f"approval {row.pk} is {decided.status} by {self._by.name}, due is {due}")
        except FirstcomeError as error:
            # The other one may have been faster, and so may an attempt of this call without an answer.
            may = {due, "approval_decided"}
            may |= REFUSALS_OF_FORCING if row.kind == operator_actions.FORCE else set()
            if error.code not in may:
                self._contradict(f"{act.__name__} of approval {row.pk}: {error.code}, due is {due or 'done'}")
