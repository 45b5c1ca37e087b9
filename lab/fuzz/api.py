"""Requests by the OpenAPI document: conforming and other ones, of every call, by each caller."""

import itertools
import time
import urllib.request
from collections.abc import Mapping
from typing import Any

import orjson
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed as seeded, settings as bounds, strategies as some
from hypothesis.errors import HypothesisException
from schemathesis import Case, GenerationMode
from schemathesis.core import NotSet
from schemathesis.core.result import Err

from lab.fuzz.findings import Findings, is_server_error

ANSWER_SECONDS, DOCUMENT_SECONDS = 30, 60
EXAMPLES = 4
"""For a call and a caller in one round."""


class _TimeIsUp(Exception):
    pass


def send_until(
    ends_at: float,
    *,
    url: str,
    tokens: Mapping[str, str],
    leaving: str,
    existing: Mapping[str, Any],
    seed: str,
    findings: Findings,
) -> int:
    """Rounds over all calls and callers until that moment of the monotonic clock; the requests sent.

    `tokens` have that of each caller; `leaving` is the one that signs out, for the others have to go on.
    `existing` has ids by the names of body fields and path parameters.
    """
    with urllib.request.urlopen(f"{url}/api/schema/?format=json", timeout=DOCUMENT_SECONDS) as response:
        schema = schemathesis.openapi.from_dict(orjson.loads(response.read()))
    operations = list(schema.get_all_operations())
    session, sent = requests.Session(), 0
    session.trust_env = False  # a proxy of the environment is not the shop's

    def send_examples(operation: Any, token: str, example_seed: str) -> None:
        token = leaving if operation.path.endswith("/auth/logout") and token else token
        own = {"Authorization": f"Bearer {token}"} if token else {}

        @seeded(example_seed)
        @bounds(
            max_examples=EXAMPLES,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=some.one_of(_cases(operation, existing)))
        def send(case: Case) -> None:
            nonlocal sent
            if time.monotonic() > ends_at:
                raise _TimeIsUp
            sent += 1
            _send(case, url, session, own, example_seed, findings)

        try:
            send()
        except HypothesisException as error:  # a body that can't be made wrong, for instance
            findings.record_status("not generated", type(error).__name__)

    try:
        for number in itertools.count():
            for found in operations:
                if isinstance(found, Err):
                    raise found.err()
                for caller, token in tokens.items():
                    operation = found.ok()
                    send_examples(operation, token, f"{seed} {number} {operation.label} {caller}")
    except _TimeIsUp:
        return sent
    raise AssertionError("the time is up before the last round")


def _send(
    case: Case, url: str, session: requests.Session, own: dict[str, str], seed: str, findings: Findings
) -> None:
    detail = f"SEED {seed!r} path {case.formatted_path!r} query {case.query} body {case.body!r}"
    headers = {**dict(case.headers or {}), **own}
    try:
        response = case.call(
            base_url=url, session=session, headers=headers, timeout=ANSWER_SECONDS, allow_redirects=False
        )
    except (requests.exceptions.InvalidHeader, UnicodeError):
        findings.record_status("api", "not sendable")
        return
    except requests.RequestException as error:
        findings.record(f"{case.operation.label} was not answered", f"{error!r} {detail}")
        return
    findings.record_status("api", response.status_code)
    head = "\n".join(f"{name}: {', '.join(values)}" for name, values in response.headers.items())
    if is_server_error(response.status_code, head):
        kind = f"{case.operation.label} answered {response.status_code}"
        findings.record(kind, f"{detail} said {response.text[:300]}")


def _cases(operation: Any, existing: Mapping[str, Any]) -> list[Any]:
    """Requests that conform, with existing and with arbitrary ids, and others that don't."""
    named = {name: value for name, value in existing.items() if f"{{{name}}}" in operation.path}

    def about_existing(case: Case) -> Case:
        if not isinstance(case.body, NotSet):
            case.body = _with_existing(case.body, existing)
        return case

    cases = [
        operation.as_strategy(path_parameters=named).map(about_existing),
        operation.as_strategy(),
        operation.as_strategy(generation_mode=GenerationMode.NEGATIVE),
        operation.as_strategy(generation_mode=GenerationMode.NEGATIVE, path_parameters=named),
    ]
    return cases if named else cases[:3]


def _with_existing(body: Any, existing: Mapping[str, Any]) -> Any:
    """The body with existing ids in the fields of their names."""
    if isinstance(body, dict):
        known = {name: existing[name] for name in body.keys() & existing if body[name] is not None}
        return {name: _with_existing(value, existing) for name, value in body.items()} | known
    return [_with_existing(item, existing) for item in body] if isinstance(body, list) else body
