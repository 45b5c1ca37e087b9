"""What a fuzz found, shared by its threads: how many answers of each status, and each finding once."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import requests

from lab.chaos.calls import Observations


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


def new_session() -> requests.Session:
    """One without a proxy of the environment, which is not the shop's."""
    session = requests.Session()
    session.trust_env = False
    return session
