"""The admin's pages with a password to hash: each waits for its client's turn without a thread."""

import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from io import BytesIO

from django.core.exceptions import SuspiciousOperation
from django.http import QueryDict

from accounts.signing_in import password_hashing, sign_ins
from accounts.signing_in.middleware import COUNTED_KEY, REFUSAL_KEY
from foundation.concurrency import event_loop
from foundation.errors import Overloaded, Throttled
from foundation.http import client_address, request_body
from foundation.http.pages import rendering
from foundation.http.pages.middleware import SIGN_IN_PATH
from foundation.rates import rate_limits, throttling
from foundation.values import Values

PATHS = re.compile(
    rf"{SIGN_IN_PATH}|/admin/password_change/|/admin/auth/user/(add(_member)?|[^/]+/password)/"
)
LONGEST_USERNAME = 150


async def serve(
    scope: rendering.Scope, fields: Mapping[bytes, bytes], receive: request_body.Receive, send: rendering.Send
) -> None:
    """Serve a form that was sent to one of `PATHS`. Raises a `FirstcomeError` before anything is sent."""
    peer = scope["client"][0] if scope.get("client") else ""
    address = client_address.choose(peer, fields.get(b"x-forwarded-for", b"").decode("latin-1"))
    rate_limits.ANONYMOUS.count(throttling.network_of_address(address))
    body = await request_body.read(fields, receive, most=password_hashing.MAX_BODY_BYTES)
    is_sign_in = rendering.path_of(scope) == SIGN_IN_PATH
    name = ""
    if is_sign_in:
        with suppress(SuspiciousOperation):
            name = QueryDict(body).get("username", "").strip()[:LONGEST_USERNAME]
    about: Values = {COUNTED_KEY: name}

    def render() -> rendering.PageResponse:
        return rendering.render(scope, fields, BytesIO(body), about)

    async def trust_level() -> password_hashing.TrustLevel:
        return (
            password_hashing.TrustLevel.OPERATOR
            if rendering.is_of_operator(scope)
            else password_hashing.TrustLevel.STRANGER
        )

    run: Callable[..., Awaitable[rendering.PageResponse]] = partial(
        password_hashing.run_in_turn, trust_level=trust_level
    )
    if is_sign_in:
        run = partial(sign_ins.run_sign_in, username=name)
    try:
        page = await run(render, address=address)
    except (Throttled, Overloaded) as refusal:
        if b"text/html" not in fields.get(b"accept", b""):
            raise
        about[REFUSAL_KEY] = refusal
        page = await event_loop.run_in_thread(render, **rendering.thread_share(scope))
    await rendering.send_page(page, send)
