"""Requests by the OpenAPI document: conforming and other ones, of every call, by each caller."""

import functools
import itertools
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed as seeded, settings as bounds, strategies as some
from hypothesis.errors import HypothesisException
from schemathesis import Case, GenerationMode
from schemathesis.core import NotSet
from schemathesis.core.result import Err

from lab.fuzz.findings import Findings

ANSWER_SECONDS, DOCUMENT_SECONDS = 30, 60
EXAMPLES = 4
"""For a call and a caller in one round."""


class _TimeIsUp(Exception):
    pass


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
        self.session = requests.Session()
        self.session.trust_env = False  # a proxy of the environment is not the shop's

    def send_until(self, ends_at: float) -> int:
        """Rounds over all calls and callers until that moment of the monotonic clock; the requests sent."""
        address = f"{self.url}/api/schema/?format=json"
        with urllib.request.urlopen(address, timeout=DOCUMENT_SECONDS) as response:
            schema = schemathesis.openapi.from_dict(orjson.loads(response.read()))
        operations = list(schema.get_all_operations())
        try:
            for number in itertools.count():
                for found, caller in itertools.product(operations, self.tokens):
                    if isinstance(found, Err):
                        raise found.err()
                    self._send_examples(found.ok(), caller, number, ends_at)
        except _TimeIsUp:
            pass
        return self.sent

    def _send_examples(self, operation: Any, caller: str, number: int, ends_at: float) -> None:
        example_seed = f"{self.seed} {number} {operation.label} {caller}"
        token = self.tokens[caller]
        token = self.leaving if operation.path.endswith("/auth/logout") and token else token
        own = {"Authorization": f"Bearer {token}"} if token else {}
        chosen: dict[str, Any] = {
            "max_examples": EXAMPLES,
            "database": None,
            "deadline": None,
            "phases": [Phase.generate],
        }

        @seeded(example_seed)
        @bounds(suppress_health_check=list(HealthCheck), **chosen)
        @given(case=some.one_of(*self._cases(operation)))
        def send(case: Case) -> None:
            if time.monotonic() > ends_at:
                raise _TimeIsUp
            self._send(case, own, example_seed)

        try:
            send()
        except HypothesisException as error:  # a body that can't be made wrong, for instance
            self.findings.count(f"not generated {type(error).__name__}")

    def _send(self, case: Case, own: dict[str, str], seed: str) -> None:
        self.sent += 1
        detail = f"SEED {seed!r} path {case.formatted_path!r} query {case.query} body {case.body!r}"
        call = functools.partial(case.call, base_url=self.url, session=self.session, allow_redirects=False)
        ask = functools.partial(call, headers={**dict(case.headers or {}), **own}, timeout=ANSWER_SECONDS)
        self.findings.answer("api", case.operation.label, detail, ask)

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
