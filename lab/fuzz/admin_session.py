"""A signed-in operator: opens pages, and sends their forms with odd values until the time is up.

Afterwards each form that needs a reason is sent without one, and each form by a member of the staff without a
permission: neither may be accepted.
"""

import random
import time
from collections import Counter, deque
from typing import Any

import requests

from lab.fuzz import admin_forms
from lab.fuzz.admin_forms import Filled, Form
from lab.fuzz.findings import Findings, is_server_error
from scripts.stack import SetupError, welcome

ROOT = "/admin/"
ANSWER_SECONDS = 30
PAGES_OF_A_SHAPE = 3
OPEN_SHARE = 0.3
"""Of the requests, while pages are left that were not opened."""
MOST_CHECKED = 400
CLERK, PASSWORD = "fuzz-clerk", "a-clerk-of-2026"
OWN = ("/admin/logout/", "/admin/password_change/", "/admin/login/", "/admin/one-time-codes/", "/i18n/")
"""Forms of the operator's own account and session, which would end it; anyone may send them."""


class Operator:
    """One session, and the forms that it has seen. `banned` are paths of which nothing is sent."""

    def __init__(self, url: str, findings: Findings, run_seed: str) -> None:
        self.url, self.findings, self.run_seed = url, findings, run_seed
        self.source = random.Random(run_seed)
        self.session = requests.Session()
        self.session.trust_env = False  # a proxy of the environment is not the shop's
        self.forms: dict[str, Form] = {}
        self.banned: tuple[str, ...] = OWN
        self.unseen: deque[str] = deque([ROOT])
        self.seen: set[str] = {ROOT}
        self.shapes: Counter[str] = Counter()
        self.sent = 0

    def sign_in(self, username: str, password: str) -> None:
        """Raises SetupError unless the session is signed in."""
        self.session.get(f"{self.url}/admin/login/", timeout=ANSWER_SECONDS)
        answer = self._send("POST", "/admin/login/", Filled([("username", username), ("password", password)]))
        if answer is None or answer.status_code != 302:
            raise SetupError(f"{username} can't sign in to /admin/: {answer}")

    def create_clerk(self) -> None:
        """An account of the staff without any permission. Raises SetupError."""
        values = [("username", CLERK), ("password1", PASSWORD), ("password2", PASSWORD)]
        added = self._send("POST", "/admin/auth/user/add/", Filled([*values, ("usable_password", "true")]))
        path = added.headers.get("Location", "") if added is not None else ""
        if not path.endswith("/change/"):
            raise SetupError(f"no account {CLERK} can be made: {added}")
        page = admin_forms.read(self.session.get(self.url + path, timeout=ANSWER_SECONDS).text, path)
        [form] = [one for one in page.forms if any(field.name == "is_staff" for field in one.fields)]
        wanted = {"is_staff": "on", form.reason or "reason": "for the fuzz", "_save": "Save"}
        changed = self._send("POST", path, admin_forms.unchanged(form, random.Random(0), **wanted))
        if changed is None or changed.status_code != 302:
            raise SetupError(f"{CLERK} can't be made one of the staff: {changed}")

    def send_until(self, ends_at: float) -> int:
        """Open pages and send their forms until that moment of the monotonic clock; the requests sent."""
        while time.monotonic() < ends_at:
            if self.unseen and (not self.forms or self.source.random() < OPEN_SHARE):
                self.open(self.unseen.popleft())
                continue
            if not self.forms:
                raise SetupError(f"no form was found below {ROOT}")
            form = self.source.choice(list(self.forms.values()))
            self._send(form.method, form.action, admin_forms.fill(form, self.source), form)
        return self.sent

    def open(self, path: str) -> None:
        """Open the page, and remember its forms and links."""
        answer = self._send("GET", path, Filled())
        if answer is None or not answer.headers.get("Content-Type", "").startswith("text/html"):
            return
        page = admin_forms.read(answer.text, path)
        for form in page.forms:
            if not self._is_banned(form.action):
                self.forms.setdefault(form.kind, form)
        for link in page.links:
            shape = admin_forms.shape(link)
            is_new = link.startswith(ROOT) and link not in self.seen and not self._is_banned(link)
            if is_new and self.shapes[shape] < PAGES_OF_A_SHAPE:
                self.seen.add(link)
                self.shapes[shape] += 1
                self.unseen.append(link)

    def check_reasons(self) -> int:
        """Send each form that needs a reason without one; an answer that accepts it is a finding."""
        checked = [form for form in self.forms.values() if form.method == "POST" and form.reason]
        for form in checked[:MOST_CHECKED]:
            for blank in ("", " \t"):
                filled = admin_forms.unchanged(form, self.source, **{form.reason: blank})
                answer = self._send("POST", form.action, filled, form)
                # Django leads to the index where the row of the form has been deleted meanwhile.
                is_accepted = answer is not None and answer.status_code in (301, 302, 303)
                if answer is not None and is_accepted and answer.headers["Location"] != ROOT:
                    what = f"{admin_forms.shape(form.action)} was accepted without a reason"
                    self.findings.record(
                        what, f"{form.action} {filled.values} to {answer.headers['Location']}"
                    )
        return len(checked)

    def check_permissions(self, forms: list[Form]) -> int:
        """Send these forms with this session, which has no permission; what is accepted is a finding."""
        checked = [form for form in forms if form.method == "POST"][:MOST_CHECKED]
        for form in checked:
            filled = admin_forms.unchanged(
                form, self.source, **({form.reason: "fuzz"} if form.reason else {})
            )
            answer = self._send("POST", form.action, filled, form)
            if answer is not None and not _is_refused(answer):
                what = f"{admin_forms.shape(form.action)} was accepted without a permission"
                self.findings.record(what, f"{form.action} {filled.values} answered {answer.status_code}")
        return len(checked)

    def _is_banned(self, path: str) -> bool:
        return path.startswith(self.banned)

    def _send(self, method: str, path: str, filled: Filled, form: Form | None = None) -> Any:
        """The response; None where there was none, which is a finding."""
        self.sent += 1
        values = filled.values
        if method == "POST":
            values = [(admin_forms.TOKEN, self.session.cookies.get("csrftoken") or ""), *values]
        detail = f"SEED {self.run_seed!r} number {self.sent} {str(filled.values)[:600]}"
        try:
            answer = self.session.request(
                method,
                self.url + path,
                params=values if method == "GET" else None,
                data=values if method == "POST" else None,
                files=filled.files or None,
                headers={"Referer": self.url + (form.page if form else path), "Accept": "text/html"},
                timeout=ANSWER_SECONDS,
                allow_redirects=False,
                stream=True,
            )
            with answer:
                if not answer.headers.get("Content-Type", "").startswith("text/event-stream"):
                    _ = answer.content
        except requests.RequestException as error:
            self.findings.record(
                f"{method} {admin_forms.shape(path)} was not answered", f"{error!r} {detail}"
            )
            return None
        self.findings.record_status("admin", answer.status_code)
        head = "\n".join(f"{name}: {value}" for name, value in answer.headers.items())
        if is_server_error(answer.status_code, head):
            kind = f"{method} {admin_forms.shape(path)} answered {answer.status_code}"
            self.findings.record(kind, detail)
        return answer


def _is_refused(answer: requests.Response) -> bool:
    is_login = answer.status_code == 302 and "/login/" in answer.headers.get("Location", "")
    return is_login or answer.status_code in (400, 403, 404, 405)


def signed_in(url: str, findings: Findings, run_seed: str) -> tuple[Operator, Operator]:
    """The operator who may do everything, and the clerk who may do nothing. Raises SetupError."""
    operator, clerk = (Operator(url, findings, f"{run_seed} {name}") for name in ("operator", "clerk"))
    operator.sign_in(welcome.STAFF_USER, welcome.STAFF_PASSWORD)
    operator.create_clerk()
    clerk.sign_in(CLERK, PASSWORD)
    return operator, clerk
