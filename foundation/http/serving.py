"""What uvicorn leaves to the application: late bodies, hosts, trailers, failures, and a worker's stop.

Slow heads, idle connections, clients that read nothing and limits by address are the proxy's.
"""

import asyncio
import signal
import types
from collections.abc import Callable, Coroutine, Generator, Sequence
from contextlib import suppress
from typing import Any

from django.core.exceptions import SuspiciousOperation
from prometheus_client import Counter

from foundation.errors import Unavailable
from foundation.http import cross_origin, problems, request_body
from foundation.http.pages.rendering import Scope, Send
from foundation.http.request_body import Message, Receive
from foundation.http.traced_application import Application
from foundation.lazy_texts import mark
from foundation.observability import logs, request_metrics

BODY_SECONDS = 10.0
"""For a whole body, from the application's first wait for it."""
LINGER_SECONDS = 5.0
"""For a client that still sends its body to read its response: closing at once could lose it."""
STOPPING_IDLE_SECONDS = 0.5
"""Until a stopping worker closes idle connections: requests that are already under way still arrive."""

MOST_HEADERS = 200
"""Lines of a head: those of one name are joined in quadratic time. Proxies pass fewer, HAProxy 101."""

late_bodies = Counter("firstcome_slow_bodies", "Requests refused because their body took too long.")
# Not `Overloaded`, which means that nothing was done.
STOPPED = mark("The server is stopping; the result of the request is not known. Try again.")
Work = Sequence[Callable[[], object]]


@types.coroutine
def _rest_of(coroutine: Coroutine[Any, Any, Message], waited_for: Any) -> Generator[Any, Any, Message]:
    """The result of a coroutine that has begun, and waits for this."""
    yield waited_for
    return (yield from coroutine.__await__())


class Served:
    """The application as a worker serves it. Each worker does `at_start`, `at_stop` when it is to stop, and
    `at_end` once its requests are answered, when it may wait.
    """

    def __init__(
        self, application: Application, *, at_start: Work = (), at_stop: Work = (), at_end: Work = ()
    ) -> None:
        self._application = application
        self._at_start = at_start
        self._at_stop = at_stop
        self._at_end = at_end
        self._request_seconds = 0.0
        self._is_stopping = False

    def start(self, *, request_seconds: float) -> None:
        """Before a worker serves; its stop answers requests that it still has after `request_seconds`."""
        self._request_seconds = request_seconds
        logs.write_in_background()
        for start in self._at_start:
            start()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._serve_until_stop(receive, send)
        else:
            await cross_origin.answer(scope, receive, send, self._answer)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        fields = dict(scope["headers"])
        names = [name for name, _value in scope["headers"]]
        is_sending = has_body = request_body.is_sent(fields)
        has_started = False
        deadline = 0.0

        async def receive_in_time() -> Message:
            nonlocal is_sending, deadline
            if not is_sending:
                return await receive()
            receiving = receive()
            try:
                # Mostly it has arrived: a timer for each would take a tenth of a call.
                waited_for = receiving.send(None)
            except StopIteration as arrived:
                message = arrived.value
            else:
                deadline = deadline or asyncio.get_running_loop().time() + BODY_SECONDS
                try:
                    async with asyncio.timeout_at(deadline):
                        message = await _rest_of(receiving, waited_for)
                except TimeoutError:
                    late_bodies.inc()
                    return {"type": "http.disconnect"}
            is_sending = message.get("more_body", False)
            return message

        async def send_whole(message: Message) -> None:
            nonlocal has_started
            if not has_started and (is_sending or self._is_stopping):
                message["headers"] = [*message["headers"], (b"connection", b"close")]
            elif has_started and is_sending and not message.get("more_body"):
                await send({**message, "more_body": True})
                with suppress(TimeoutError):
                    async with asyncio.timeout(LINGER_SECONDS):
                        while (await receive()).get("more_body"):
                            pass
                message = {"type": "http.response.body", "body": b""}
            has_started = True
            await send(message)

        try:
            # uvicorn takes a body behind `Upgrade` for the next request; of several hosts a proxy may have
            # read another than the shop would (RFC 9112, 3.2).
            is_skipped = has_body and (b"upgrade" in fields or scope["method"] == "CONNECT")
            # uvicorn takes trailers of a body in chunks for headers: one would name another client.
            is_renamed = b"transfer-encoding" in fields and names.count(b"x-forwarded-for") > 1
            is_elsewhere = scope["http_version"] != "1.0" and names.count(b"host") != 1
            if is_skipped or is_renamed or is_elsewhere or len(names) > MOST_HEADERS:
                raise SuspiciousOperation(
                    "no host, several, a client twice, a body behind an upgrade, a long head"
                )
            await self._application(scope, receive_in_time, send_whole)
        except (asyncio.CancelledError, Exception) as failure:
            if has_started:
                raise
            is_sending = True
            error = Unavailable(STOPPED) if isinstance(failure, asyncio.CancelledError) else failure
            answer = problems.before_a_lane(error, fields)
            request_metrics.count_refusal("", answer.status_code, answer.code)
            await answer.send(send_whole, [(b"x-content-type-options", b"nosniff")])

    async def _serve_until_stop(self, receive: Receive, send: Send) -> None:
        loop = asyncio.get_running_loop()
        # Those of the server; all later ones are of requests, and of what requests read together.
        own = asyncio.all_tasks()
        stop_server: Any = signal.getsignal(signal.SIGTERM)

        def stop() -> None:
            if not self._is_stopping:
                self._is_stopping = True
                for end_waiting in self._at_stop:
                    end_waiting()
                loop.call_later(STOPPING_IDLE_SECONDS, stop_server, signal.SIGTERM, None)
                loop.call_later(
                    self._request_seconds, lambda: [one.cancel() for one in asyncio.all_tasks() - own]
                )

        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            loop.add_signal_handler(number, stop)
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        for end in self._at_end:
            end()
        await send({"type": "lifespan.shutdown.complete"})
