"""Requests by the OpenAPI document: conforming and other ones, of every call, by each caller."""

import time
import urllib.request
from typing import Any

import orjson
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings as bounds, strategies as some
from hypothesis.errors import HypothesisException
from schemathesis import Case, GenerationMode
from schemathesis.core import NotSet
from schemathesis.core.errors import InvalidSchema
from schemathesis.core.result import Err, Result

from lab.fuzz.callers import Callers
from lab.fuzz.findings import Findings, is_server_error

ANSWER_SECONDS = 30
EXAMPLES = 4
"""For a call and a caller in one round."""
DOCUMENT_SECONDS = 60


class _TimeIsUp(Exception):
    pass


def send_until(ends_at: float, *, url: str, callers: Callers, run_seed: str, findings: Findings) -> int:
    """Rounds over all calls and callers until that moment of the monotonic clock; the requests sent."""
    with urllib.request.urlopen(f"{url}/api/schema/?format=json", timeout=DOCUMENT_SECONDS) as response:
        schema = schemathesis.openapi.from_dict(orjson.loads(response.read()))
    operations = [_valid(found) for found in schema.get_all_operations()]
    sender = _Sender(ends_at, url, callers, findings)
    try:
        for number in range(10**9):
            for operation in operations:
                for caller in callers.tokens:
                    sender.send_examples(operation, caller, f"{run_seed} {number} {operation.label} {caller}")
    except _TimeIsUp:
        return sender.sent
    raise AssertionError("the time is up before the last round")


class _Sender:
    def __init__(self, ends_at: float, url: str, callers: Callers, findings: Findings) -> None:
        self.ends_at, self.url, self.callers, self.findings = ends_at, url, callers, findings
        self.session = requests.Session()
        self.session.trust_env = False  # a proxy of the environment is not the shop's
        self.sent = 0

    def send_examples(self, operation: Any, caller: str, example_seed: str) -> None:
        token = self.callers.tokens[caller]
        if operation.path.endswith("/auth/logout") and token:
            token = self.callers.leaving  # other calls need tokens that go on
        own = {"Authorization": f"Bearer {token}"} if token else {}

        @seed(example_seed)
        @bounds(
            max_examples=EXAMPLES,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=some.one_of(_cases(operation, self.callers.existing)))
        def send(case: Case) -> None:
            if time.monotonic() > self.ends_at:
                raise _TimeIsUp
            self._send(case, own, example_seed)

        try:
            send()
        except HypothesisException as error:  # a body that can't be made wrong, for instance
            self.findings.record_status("not generated", type(error).__name__)

    def _send(self, case: Case, own: dict[str, str], example_seed: str) -> None:
        self.sent += 1
        detail = f"SEED {example_seed!r} path {case.formatted_path!r} query {case.query} body {case.body!r}"
        try:
            response = case.call(
                base_url=self.url,
                session=self.session,
                headers={**dict(case.headers or {}), **own},
                timeout=ANSWER_SECONDS,
                allow_redirects=False,
            )
        except (requests.exceptions.InvalidHeader, UnicodeError):
            self.findings.record_status("api", "not sendable")
            return
        except requests.RequestException as error:
            self.findings.record(f"{case.operation.label} was not answered", f"{error!r} {detail}")
            return
        self.findings.record_status("api", response.status_code)
        head = "\n".join(f"{name}: {', '.join(values)}" for name, values in response.headers.items())
        if is_server_error(response.status_code, head):
            kind = f"{case.operation.label} answered {response.status_code}"
            self.findings.record(kind, f"{detail} said {response.text[:300]}")


def _valid(found: Result[Any, InvalidSchema]) -> Any:
    if isinstance(found, Err):
        raise found.err()
    return found.ok()


def _cases(operation: Any, existing: dict[str, Any]) -> list[Any]:
    """Requests that conform, with existing and with arbitrary ids, and others that don't."""
    named = {name: value for name, value in existing.items() if f"{{{name}}}" in operation.path}
    cases = [
        operation.as_strategy(path_parameters=named).map(lambda case: _about(case, existing)),
        operation.as_strategy(),
        operation.as_strategy(generation_mode=GenerationMode.NEGATIVE),
        operation.as_strategy(generation_mode=GenerationMode.NEGATIVE, path_parameters=named),
    ]
    return cases if named else cases[:3]


def _about(case: Case, existing: dict[str, Any]) -> Case:
    if not isinstance(case.body, NotSet):
        case.body = _with_existing(case.body, existing)
    return case


def _with_existing(body: Any, existing: dict[str, Any]) -> Any:
    """The body with existing ids in the fields of their names."""
    if isinstance(body, dict):
        return {
            name: existing[name]
            if name in existing and value is not None
            else _with_existing(value, existing)
            for name, value in body.items()
        }
    return [_with_existing(item, existing) for item in body] if isinstance(body, list) else body
