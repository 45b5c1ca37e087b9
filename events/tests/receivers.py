"""Receivers of webhooks, for tests: real HTTP servers that record what they get, and answer as tests say."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from scripts.tests import canned_shop
from scripts.tests.canned_shop import Answer, Sent


class Receiver:
    """A running receiver. `answer` gets each request, and returns the status."""

    def __init__(self, server):
        self.server, self.port, self.requests = server, server.port, server.sent
        self.url = f"{server.address}/hooks"
        self.answer: Callable[[Sent], int] = lambda request: 204
        self.text, self.delay_seconds, self.location = b"", 0.0, ""
        server.answer = self._respond

    def names(self) -> list[str]:
        return [request.body["data"].get("name", "") for request in self.requests]

    def _respond(self, request):
        time.sleep(self.delay_seconds)
        return Answer(self.answer(request), self.text, {"Location": self.location} if self.location else {})


@contextmanager
def receiving(host="127.0.0.1", port=0) -> Iterator[Receiver]:
    """A receiver on loopback, on a free port unless one is named."""
    with canned_shop.running(port, host) as server:
        yield Receiver(server)
