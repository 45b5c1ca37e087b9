"""A signed-in operator: opens pages, and sends their forms with odd values.

Afterwards each form that needs a reason is sent without one, and each form by a member of the staff without a
permission: neither may be accepted.
"""

import random
from collections.abc import Iterable
from typing import Any, NamedTuple
from urllib.parse import urljoin, urlsplit

import lxml.html
import requests

from lab.fuzz.findings import Findings
from lab.fuzz.odd import FORMS
from scripts.stack import Json, Lines

ROOT = "/admin/"
ANSWER_SECONDS = 30
PAGES_OF_A_SHAPE = 3
MOST_CHECKED = 400
REFUSED = (400, 403, 404, 405)
OPEN_SHARE = 0.3  # Of the requests, while pages are left that were not opened
CLERK = "fuzz-clerk"
PASSWORD = "a-clerk-of-2026"  # noqa: S105 - of a shop of its own
# Forms of the operator's own account and session, which would end it; anyone may send them.
OWN = ("/admin/logout/", "/admin/password_change/", "/admin/login/", "/admin/one-time-codes/", "/i18n/")
HOST = "http://shop"
TOKEN = "csrfmiddlewaretoken"  # noqa: S105 - a name
MOST_CHANGED = 3
REPEATED = 1_200  # Fields of a form, and more fields than Django reads
Values = list[tuple[str, str]]


def shape(text: str) -> str:
    """The text with each number, UUID and row's name as one sign: what forms and pages of a kind share."""
    return "/".join("#" if any(letter.isdigit() for letter in part) else part for part in text.split("/"))


class Form(NamedTuple):
    """A form of a page: the paths of both, what a browser sends of it unchanged, what it may send besides
    (a button, a box to tick), its files' names, and the name of the field that needs a reason, if any."""

    page: str
    action: str
    method: str
    values: Values
    others: Values
    files: list[str]
    reason: str

    @property
    def names(self) -> list[str]:
        return [name for name, _ in [*self.values, *self.others]] + self.files

    @property
    def kind(self) -> str:
        return f"{self.method} {shape(self.action)} {','.join(sorted({shape(one) for one in self.names}))}"

    def unchanged(self, chance: random.Random, **changed: str) -> Values:
        """As a browser sends it, with one of its buttons pressed; fields by name have another value."""
        others = []
        if self.others and chance.random() < 0.7:
            others = [chance.choice(self.others)]
        return [pair for pair in self.values + others if pair[0] not in changed] + list(changed.items())

    def odd(self, chance: random.Random) -> Values:
        """With one to three fields changed, dropped or doubled, and one of its buttons pressed."""
        values = self.unchanged(chance)
        for name in chance.sample(self.names, min(len(self.names), chance.randint(1, MOST_CHANGED))):
            way = chance.randrange(10)
            if way != 1:  # otherwise it is doubled
                values = [pair for pair in values if pair[0] != name]
            if way:  # otherwise it is missing
                values.append((name, chance.choice(FORMS.values)))
        return values + [("filler", "x")] * REPEATED * (chance.random() < 0.02)


def read(html: bytes, path: str) -> tuple[list[Form], Lines]:
    """The forms and the paths of links of the page at this path; other hosts' are left out."""
    page = lxml.html.document_fromstring(html or b"<p>", parser=lxml.html.HTMLParser(encoding="utf-8"))
    page.make_links_absolute(f"{HOST}{path}")

    def own(address: str) -> str:
        """The path of an address of the same host; empty for others."""
        parts = urlsplit(address)
        if f"{parts.scheme}://{parts.netloc}" == HOST:
            return parts.path
        return ""

    forms = []
    for form in page.forms:
        # lxml leaves out what has no value, and a browser does not.
        for one in form.xpath(".//input[not(@value)][not(@type='checkbox' or @type='radio')]"):
            one.set("value", "")
        others = [
            (name, one.get("value", "on" if one.get("type") == "checkbox" else ""))
            for one in form.xpath(FORMS.not_sent)
            for name in one.xpath("ancestor-or-self::*[@name][1]/@name")
        ]
        values = [one for one in form.form_values() if one[0] != TOKEN]
        files = form.xpath(".//input[@type='file']/@name")
        reason = next((name for name in form.xpath(".//*[@required]/@name") if name.endswith("reason")), "")
        addresses = [urljoin(HOST, one) for one in form.xpath(".//button/@formaction")]
        if not addresses or form.xpath(".//*[@type='submit'][not(@formaction)]"):
            addresses.append(form.action or f"{HOST}{path}")
        for address in addresses:
            action = own(address)
            forms.append(Form(path, action, form.method, values, others, files, reason))
    links = dict.fromkeys(own(one) for one in page.xpath("//a/@href"))
    return [form for form in forms if form.action], [link for link in links if link]


class Operator:
    """One session, and the forms that it has seen, by their kinds."""

    def __init__(self, url: str, findings: Findings, seed: str, session: requests.Session) -> None:
        self.url = url
        self.findings = findings
        self.session = session
        self.chance = random.Random(seed)
        self.detail = ""
        self.forms = dict[str, Form]()
        self.unseen = [ROOT]
        self.known = {ROOT}

    def create_clerk(self) -> None:
        """An account of the staff without any permission."""
        named = {"username": CLERK, "password1": PASSWORD, "password2": PASSWORD, "usable_password": "true"}
        path = self._send("POST", f"{ROOT}auth/user/add/", [*named.items()]).headers["Location"]
        [form] = [one for one in read(self._send("GET", path).content, path)[0] if "is_staff" in one.names]
        wanted = {"is_staff": "on", form.reason or "reason": "for the fuzz", "_save": "Save"}
        self._send("POST", path, form.unchanged(random.Random(0), **wanted))

    def send_odd(self, detail: str) -> None:
        """Open a page, or send a form with odd values."""
        self.detail = detail
        if self.unseen and (not self.forms or self.chance.random() < OPEN_SHARE):
            self.open(self.unseen.pop(0))
            return
        form = self.chance.choice(list(self.forms.values()))
        values = form.odd(self.chance)
        files = {}
        for name in form.files:
            files[name] = (self.chance.choice(FORMS.values) or "file", self.chance.choice(FORMS.files))
        self._send(form.method, form.action, values, page=form.page, files=files)

    def open(self, path: str) -> None:
        answer = self._send("GET", path)
        if answer is None or not answer.headers.get("Content-Type", "").startswith("text/html"):
            return
        forms, links = read(answer.content, path)
        for form in forms:
            if not form.action.startswith(OWN):
                self.forms.setdefault(form.kind, form)
        for link in links:
            is_new = link.startswith(ROOT) and link not in self.known and not link.startswith(OWN)
            if is_new and [shape(one) for one in self.known].count(shape(link)) < PAGES_OF_A_SHAPE:
                self.known.add(link)
                self.unseen.append(link)

    def check(self, forms: Iterable[Form], what: str, reason: str) -> int:
        """Send these forms with that reason, those that need one: each that is accepted is a finding. Their
        number."""
        checked = [form for form in forms if form.method == "POST"][:MOST_CHECKED]
        for form in checked:
            values = form.unchanged(self.chance, **({form.reason: reason} if form.reason else {}))
            answer = self._send("POST", form.action, values, page=form.page)
            if answer is None:
                continue
            led = answer.headers.get("Location", "")
            is_refused = "/login/" in led or answer.status_code in REFUSED
            if what == "reason":
                # Django leads to the index where the row of the form has been deleted meanwhile.
                is_refused = led in ("", ROOT)
            if not is_refused:
                accepted = f"{shape(form.action)} was accepted without a {what}"
                self.findings.record(accepted, f"{values} answered {answer.status_code} {led}")
        return len(checked)

    def _send(
        self, method: str, path: str, values: Values | None = None, *, page: str = "", files: Any = None
    ) -> Any:
        """The response; None where there was none, which is a finding."""
        asked = f"{method} {shape(path)}"
        detail = f"{self.detail} {str(values)[:600]}"
        token = [(TOKEN, self.session.cookies.get("csrftoken") or "")]
        sent: Json = {"params": values} if method == "GET" else {"data": token + (values or [])}
        headers = {"Referer": self.url + (page or path), "Accept": "text/html"}
        sent |= {"files": files or None, "headers": headers, "timeout": ANSWER_SECONDS}
        try:
            answer = self.session.request(method, self.url + path, allow_redirects=False, stream=True, **sent)
            with answer:
                is_stream = answer.headers.get("Content-Type", "").startswith("text/event-stream")
                said = "" if is_stream else answer.text[:300]
        except requests.RequestException as error:
            self.findings.record(f"{asked} was not answered", f"{error!r} {detail}")
            return None
        self.findings.judge("admin", asked, answer.status_code, str(answer.headers), f"{detail} said {said}")
        return answer
