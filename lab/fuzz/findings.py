"""What a fuzz found, shared by its threads: how many answers of each status, and each finding once."""

import re
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import requests

MOST_FINDINGS, LONGEST = 50, 1500


@dataclass
class Findings:
    """`found` has the text of each finding by its kind, the first of a kind only."""

    statuses: Counter[str] = field(default_factory=Counter)
    found: dict[str, str] = field(default_factory=dict)
    mutex: threading.Lock = field(default_factory=threading.Lock)

    def count(self, what: str) -> None:
        with self.mutex:
            self.statuses[what] += 1

    def record(self, kind: str, detail: str) -> None:
        """A failure; another one of the same kind is not recorded again."""
        with self.mutex:
            if len(self.found) < MOST_FINDINGS:
                self.found.setdefault(kind, f"{kind}: {detail}"[:LONGEST])

    def judge(self, source: str, asked: str, status: int, head: str, detail: str) -> None:
        """Count an answer. 500 and more is a failure, but for a 503 that says when to come back."""
        self.count(f"{source} {status}")
        says_when = status == 503 and re.search(r"(?i)retry-after\W+\d", head)
        if status >= 500 and not says_when:
            self.record(f"{asked} answered {status}", detail)

    def answer(self, source: str, asked: str, detail: str, ask: Callable[[], Any]) -> Any:
        """The response that `ask` gets, judged; None for none, which is a failure."""
        try:
            answer = ask()
        except (requests.exceptions.InvalidHeader, UnicodeError):
            self.count(f"{source} not sendable")
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
