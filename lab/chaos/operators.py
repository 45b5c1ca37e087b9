"""Operators at their pages of the admin: they force sagas, grant points and decide what the other asked
for."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from http import HTTPStatus
from typing import Any

import requests
from uuid_utils import uuid7

from lab.chaos.calls import NoFinalAnswer
from lab.chaos.clients import Client
from lab.chaos.memory import Account, Setup
from scripts.stack import SetupError, database
from scripts.stack.instance import Instance

GRANT_LIMIT_AMOUNT = 100_000
"""The setting's default."""
NAMES, PASSWORD = ("staff", "second-staff"), "staff-pass-2026"
"""The demo's operator, and one more like it."""
SECOND = """
INSERT INTO auth_user
(password, is_superuser, username, first_name, last_name, email, is_staff, is_active, date_joined)
SELECT password, 1, %s, '', '', '', 1, 1, date_joined FROM auth_user WHERE username = %s
"""
UNFINISHED = "SELECT id FROM orders_saga WHERE ended_at IS NULL ORDER BY state = 'stuck' DESC, id LIMIT 5"
RECENT = "SELECT id, asker_name, status FROM shop_approval ORDER BY id DESC LIMIT 5"
DECIDED = "SELECT id, kind, reason, status FROM shop_approval"
GRANTED = """
SELECT transfer.reason, entry.account_id, entry.amount FROM payments_entry entry
JOIN payments_transfer transfer ON transfer.id = entry.transfer_id
WHERE transfer.kind = 'grant' AND LEFT(transfer.reason, 9) = 'operator ' AND entry.amount > 0
"""
FORCES = ("retry", "complete", "compensate")
PAUSE_SECONDS = (0.2, 1.0)
ANSWER_SECONDS = 30


def create_second(instance: Instance) -> None:
    """The operator that approves what the demo's asks for, and asks for more."""
    database.rows(instance, SECOND, NAMES[1], NAMES[0])


class Operator(Client):
    """One operator's session."""

    def __init__(self, name: str, instance: Instance, setup: Setup, **settings: Any) -> None:
        super().__init__(setup, port=instance.port, **settings)
        self.name, self.instance = name, instance
        self.session = requests.Session()
        self.session.trust_env = False  # a proxy of the environment is not the shop's

    def run(self, stop: Any) -> None:
        self.session.get(f"{self.instance.url}/admin/login/", timeout=ANSWER_SECONDS)
        if self._send("/admin/login/", username=self.name, password=PASSWORD) != HTTPStatus.FOUND:
            raise SetupError(f"{self.name} can't sign in to the admin")
        actions: dict[Callable[[], None], int] = {self.grant: 3, self.force: 4, self.decide: 4}
        while not stop.is_set():
            self.chosen(actions)()
            stop.wait(self.random.uniform(*PAUSE_SECONDS))

    def grant(self) -> None:
        """Grant points, perhaps so many that another operator has to approve them."""
        account: Account = self.random.choice(self.setup.buyers)
        amount = self.random.choice(
            [self.random.randint(1, 900), GRANT_LIMIT_AMOUNT + self.random.randint(1, 900)]
        )
        reason = f"operator {self.random.getrandbits(64):016x}"
        self.setup.granted[reason] = account.id, amount
        path = f"/admin/accounts/{account.id}/grant-points/"
        values = {"form_id": str(uuid7()), "amount": amount, "reason": reason, "confirmed": "1"}
        if (status := self._send(path, **values)) != HTTPStatus.FOUND:
            self.seen.record_finding(f"{path} answered {status} to {amount}")

    def force(self) -> None:
        """Retry, complete or compensate a saga that has not ended, a stuck one if there is any."""
        ids = [id for (id,) in database.rows(self.instance, UNFINISHED)]
        if ids:
            path = f"/admin/orders/saga/{self.random.choice(ids)}/{self.random.choice(FORCES)}/"
            self._send(path, form_id=str(uuid7()), reason=f"operator {self.name}")

    def decide(self) -> None:
        """Approve or refuse what was asked for, one's own and what is decided among it."""
        rows = database.rows(self.instance, RECENT)
        if not rows:
            return
        id, asker, status = self.random.choice(rows)
        button, becomes = self.random.choice([("approve", "approved")] * 2 + [("refuse", "refused")])
        if status == "waiting" and not (button == "approve" and asker == self.name):
            self.setup.pressed.setdefault(id, set()).add(becomes)
        self._send(f"/admin/shop/approval/{id}/{button}/", form_id=str(uuid7()), reason="I have looked")

    def _send(self, path: str, **values: Any) -> int:
        """The status of the answer; without one, and after a 5xx, the same form is sent again."""
        token = self.session.cookies.get("csrftoken") or ""
        while time.monotonic() < self.until:
            began = time.monotonic()
            try:
                answer = self.session.post(
                    f"{self.instance.url}{path}",
                    {"csrfmiddlewaretoken": token, **values},
                    allow_redirects=False,
                    timeout=ANSWER_SECONDS,
                )
            except requests.RequestException:
                time.sleep(0.5)
                continue
            self.seen.count(f"admin {path.split('/')[-2]} {answer.status_code}", time.monotonic() - began)
            if answer.status_code < HTTPStatus.INTERNAL_SERVER_ERROR:
                return answer.status_code
            time.sleep(0.5)
        raise NoFinalAnswer(f"the admin has not answered {path}")


def findings(setup: Setup, instance: Instance) -> Iterator[str]:
    """What is not as operators were answered; from then on the setup has what they granted each account."""
    yield from compare(setup, database.rows(instance, DECIDED), database.rows(instance, GRANTED))


def compare(setup: Setup, rows: Sequence[Any], granted: Sequence[Any]) -> Iterator[str]:
    """The approvals and the grants of operators that are there, with what was sent."""
    of_grants = {reason: status for _, kind, reason, status in rows if kind == "points.grant"}
    large = {reason for reason, (_, amount) in setup.granted.items() if amount > GRANT_LIMIT_AMOUNT}
    if of_grants.keys() != large or len(of_grants) != sum(kind == "points.grant" for _, kind, _, _ in rows):
        yield f"approvals: {len(large)} were asked for, {len(of_grants)} are there"
    for id, kind, _, status in rows:
        pressed = setup.pressed.get(id, set())
        may_fail = kind != "points.grant" or not pressed
        if status not in pressed | ({"waiting"} if may_fail else set()):
            yield f"approval {id} is {status}, pressed was {sorted(pressed)}"
    due = Counter(
        (reason, *given)
        for reason, given in setup.granted.items()
        if reason not in large or of_grants.get(reason) == "approved"
    )
    found = Counter(map(tuple, granted))
    if found != due:
        yield f"grants of operators: {(found - due) or ''} too many, {(due - found) or ''} are missing"
    for _, account_id, amount in due.elements():
        setup.operator_grants[account_id] += amount
