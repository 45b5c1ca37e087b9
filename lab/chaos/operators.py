"""Operators at their pages of the admin: they force sagas, grant points and decide what the other asked
for."""

import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import requests
from uuid_utils import uuid7

from lab.chaos.calls import Account, NoFinalAnswer, Setup, new_session
from lab.chaos.clients import Client
from lab.chaos.comparison import unlike
from lab.stack import database
from scripts.stack import SetupError
from scripts.stack.instance import Instance

GRANT_LIMIT_AMOUNT = 100_000
"""The setting's default."""
NAMES, PASSWORD = ("staff", "second-staff"), "staff-pass-2026"
"""The demo's operator, and one more like it, who approves what the first asks for, and asks for more."""
SECOND = """
INSERT INTO auth_user
(password, is_superuser, username, first_name, last_name, email, is_staff, is_active, date_joined)
SELECT password, 1, %s, '', '', '', 1, 1, date_joined FROM auth_user WHERE username = %s
"""
UNFINISHED = "SELECT id FROM orders_saga WHERE ended_at IS NULL ORDER BY state = 'stuck' DESC, id LIMIT 5"
RECENT = "SELECT id, asker_name, status FROM shop_approval ORDER BY id DESC LIMIT 5"
APPROVALS = "SELECT id, kind, reason, status FROM shop_approval"
GRANTED = """
SELECT transfer.reason, entry.account_id, entry.amount FROM payments_entry entry
JOIN payments_transfer transfer ON transfer.id = entry.transfer_id
WHERE transfer.kind = 'grant' AND SUBSTR(transfer.reason, 1, 9) = 'operator ' AND entry.amount > 0
"""
FOUND, ANSWER_SECONDS = 302, 30


class Operator(Client):
    """One operator's session."""

    mix, pauses = {"grant": 3, "force": 4, "decide": 4}, (0.2, 1.0)

    def __init__(self, name: str, instance: Instance, setup: Setup, **settings: Any) -> None:
        super().__init__(setup, **{"port": instance.port, **settings})
        self.name, self.instance = name, instance
        self.session = new_session()

    def run(self, stop: Any) -> None:
        self.session.get(f"{self.instance.url}/admin/login/", timeout=ANSWER_SECONDS)
        if self._send("/admin/login/", username=self.name, password=PASSWORD) != FOUND:
            raise SetupError(f"{self.name} can't sign in to the admin")
        super().run(stop)

    def grant(self, account: Account) -> None:
        """Grant points, perhaps so many that another operator has to approve them."""
        amount = self.random.randint(1, 900) + self.random.choice([0, GRANT_LIMIT_AMOUNT])
        reason = f"operator {self.random.getrandbits(64):016x}"
        self.setup.granted[reason] = account.id, amount
        path = f"/admin/accounts/{account.id}/grant-points/"
        if (status := self._send(path, amount=amount, reason=reason, confirmed="1")) != FOUND:
            self.seen.record_finding(f"{path} answered {status} to {amount}")

    def force(self, _: Account) -> None:
        """Retry, complete or compensate a saga that has not ended, a stuck one if there is any."""
        if ids := [id for (id,) in database.rows(self.instance, UNFINISHED)]:
            action = self.random.choice(["retry", "complete", "compensate"])
            path = f"/admin/orders/saga/{self.random.choice(ids)}/{action}/"
            self._send(path, reason=f"operator {self.name}")

    def decide(self, _: Account) -> None:
        """Approve or refuse what was asked for, one's own and what is decided among it."""
        if rows := database.rows(self.instance, RECENT):
            id, asker, status = self.random.choice(rows)
            button = self.chosen({"approve": 2, "refuse": 1})
            if status == "waiting" and not (button == "approve" and asker == self.name):
                becomes = {"approve": "approved", "refuse": "refused"}[button]
                self.setup.pressed.setdefault(id, set()).add(becomes)
            self._send(f"/admin/shop/approval/{id}/{button}/", reason="I have looked")

    def _send(self, path: str, **values: Any) -> int:
        """The status of the answer; without one, and after a 5xx, the same form is sent again."""
        values |= {"csrfmiddlewaretoken": self.session.cookies.get("csrftoken"), "form_id": str(uuid7())}
        how: dict[str, Any] = {"allow_redirects": False, "timeout": ANSWER_SECONDS}
        while time.monotonic() < self.until:
            began = time.monotonic()
            try:
                status = self.session.post(f"{self.instance.url}{path}", values, **how).status_code
            except requests.RequestException:
                status = 599
            else:
                self.seen.count(f"admin {path.split('/')[-2]} {status}", time.monotonic() - began)
            if status < 500:
                return status
            time.sleep(0.5)
        raise NoFinalAnswer(f"the admin has not answered {path}")


def findings(setup: Setup, approvals: Sequence[Any], granted: Sequence[Any]) -> Iterator[str]:
    """What of these, the rows of `APPROVALS` and `GRANTED`, is not as operators were answered; from then on
    the setup has what they granted each account."""
    large = {reason for reason, (_, amount) in setup.granted.items() if amount > GRANT_LIMIT_AMOUNT}
    asked = Counter(reason for _, kind, reason, _ in approvals if kind == "points.grant")
    yield from unlike(
        {f"approvals of {reason}": 1 for reason in large},
        {f"approvals of {reason}": count for reason, count in asked.items()},
    )
    approved, due, found = set[str](), dict[str, Any](), defaultdict[str, Any](list)
    for id, kind, reason, status in approvals:
        pressed = setup.pressed.get(id, set())
        may_wait = kind != "points.grant" or not pressed
        if status not in pressed | ({"waiting"} if may_wait else set()):
            yield f"approval {id} is {status}, pressed was {sorted(pressed)}"
        approved |= {reason} if status == "approved" else set()
    for reason, given in setup.granted.items():
        if reason in approved or reason not in large:
            due[f"grant of {reason}"] = [given]
            setup.operator_grants[given[0]] += given[1]
    for reason, account_id, amount in granted:
        found[f"grant of {reason}"].append((account_id, amount))
    yield from unlike(due, found)
