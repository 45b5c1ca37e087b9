"""What a fuzz finds."""

import re

from lab.calls import Observations


class Findings(Observations):
    """Of the findings of a kind only the first is recorded."""

    def record(self, kind: str, detail: str) -> None:
        if not any(one.startswith(f"{kind}: ") for one in self.findings):
            self.record_finding(f"{kind}: {detail}")

    def judge(self, source: str, asked: str, status: int, head: str, detail: str) -> None:
        """Count an answer. 500 and more is a failure, but for a 503 that says when to come back."""
        self.count(f"{source} {status}", 0.0)
        says_when = status == 503 and re.search(r"(?i)retry-after\W+\d", head)
        if status >= 500 and not says_when:
            self.record(f"{asked} answered {status}", detail)
