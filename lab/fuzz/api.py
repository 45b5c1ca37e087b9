"""Requests by the OpenAPI document: conforming and other ones, of every call, by each caller."""

import itertools
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed as seeded, settings as bounds, strategies as some
from hypothesis.errors import HypothesisException
from schemathesis import Case, GenerationMode
from schemathesis.core import NotSet

from lab.chaos.calls import Observations, new_session

ANSWER_SECONDS, DOCUMENT_SECONDS = 30, 60
EXAMPLES = 4
"""For a call and a caller in one round."""


@dataclass
class Findings(Observations):
    """Of the findings of a kind only the first is recorded."""

    kinds: list[str] = field(default_factory=list)

    def record(self, kind: str, detail: str) -> None:
        with self.mutex:
            is_new = kind not in self.kinds
            self.kinds += [kind] * is_new
        if is_new:
            self.record_finding(f"{kind}: {detail}")

    def judge(self, source: str, asked: str, status: int, head: str, detail: str) -> None:
        """Count an answer. 500 and more is a failure, but for a 503 that says when to come back."""
        self.count(f"{source} {status}", 0.0)
        says_when = status == 503 and re.search(r"(?i)retry-after\W+\d", head)
        if status >= 500 and not says_when:
            self.record(f"{asked} answered {status}", detail)

    def answer(self, source: str, asked: str, detail: str, ask: Callable[[], Any]) -> Any:
        """The response that `ask` gets, judged; None for none, which is a failure."""
        try:
            answer = ask()
        except (requests.exceptions.InvalidHeader, UnicodeError):
            self.count(f"{source} not sendable", 0.0)
            return None
        except requests.RequestException as error:
            self.record(f"{asked} was not answered", f"{error!r} {detail}")
            return None
        said = f" said {answer.text[:300]}" if answer.status_code >= 500 else ""
        self.judge(source, asked, answer.status_code, str(dict(answer.headers)), detail + said)
        return answer


@dataclass
class Sender:
    """Sends as each of the callers whose tokens it has; `leaving` is the one that signs out, for the others
    have to go on. `existing` has ids by the names of body fields and path parameters."""

    url: str
    tokens: Mapping[str, str]
    leaving: str
    existing: Mapping[str, Any]
    seed: str
    findings: Findings
    sent: int = 0

    def __post_init__(self) -> None:
        self.session = new_session()

    def send_until(self, ends_at: float) -> int:
        """Rounds over all calls and callers until that moment of the monotonic clock; the requests sent."""
        document = self.session.get(f"{self.url}/api/schema/?format=json", timeout=DOCUMENT_SECONDS).json()
        operations = schemathesis.openapi.from_dict(document).get_all_operations()
        # What schemathesis can't read has an error in the place of `ok`.
        found = [one.ok() for one in operations]  # type: ignore[union-attr]
        for number, (operation, caller) in enumerate(itertools.cycle(itertools.product(found, self.tokens))):
            if time.monotonic() > ends_at:
                break
            self._send_examples(operation, caller, number)
        return self.sent

    def _send_examples(self, operation: Any, caller: str, number: int) -> None:
        token, example_seed = self.tokens[caller], f"{self.seed} {number} {operation.label} {caller}"
        token = self.leaving if operation.path.endswith("/auth/logout") and token else token
        own = {"Authorization": f"Bearer {token}"} if token else {}
        ask = {"base_url": self.url, "session": self.session, "timeout": ANSWER_SECONDS}
        chosen: dict[str, Any] = {"max_examples": EXAMPLES, "database": None, "deadline": None}

        @seeded(example_seed)
        @bounds(suppress_health_check=list(HealthCheck), phases=[Phase.generate], **chosen)
        @given(case=some.one_of(*self._cases(operation)))
        def send(case: Case) -> None:
            self.sent += 1
            detail = (
                f"SEED {example_seed!r} path {case.formatted_path!r} query {case.query} body {case.body!r}"
            )
            call = partial(case.call, headers={**dict(case.headers or {}), **own}, allow_redirects=False)
            self.findings.answer("api", operation.label, detail, partial(call, **ask))

        try:
            send()
        except HypothesisException as error:  # a body that can't be made wrong, for instance
            self.findings.count(f"not generated {type(error).__name__}", 0.0)

    def _cases(self, operation: Any) -> Iterator[Any]:
        """Requests that conform, with existing and with arbitrary ids, and others that don't."""
        named = {name: value for name, value in self.existing.items() if f"{{{name}}}" in operation.path}

        def about_existing(case: Case) -> Case:
            if not isinstance(case.body, NotSet):
                case.body = _with_existing(case.body, self.existing)
            return case

        yield operation.as_strategy(path_parameters=named).map(about_existing)
        yield operation.as_strategy()
        yield operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)
        if named:
            yield operation.as_strategy(generation_mode=GenerationMode.NEGATIVE, path_parameters=named)


def _with_existing(body: Any, existing: Mapping[str, Any]) -> Any:
    """The body with existing ids in the fields of their names."""
    if isinstance(body, dict):
        known = {name: existing[name] for name in body.keys() & existing if body[name] is not None}
        return {name: _with_existing(value, existing) for name, value in body.items()} | known
    return [_with_existing(item, existing) for item in body] if isinstance(body, list) else body
