"""A small ASGI application, to test the server without the shop."""

import asyncio
import os

import django

django.setup()

from foundation.http import serving  # noqa: E402 - Django has to be set up first


async def _answer(scope, receive, send):
    """`/echo` returns the body, `/early` answers before it, `/wait/2.5` in 2.5 s, `/large/9` by 9 bytes."""
    path, _, seconds = scope["path"].removeprefix("/").partition("/")
    if path == "fail":
        raise ValueError("requested failure")
    status, body = 200, b"%d" % os.getpid()
    if path == "wait":
        await asyncio.sleep(float(seconds))
    if path == "early":
        status = 413
    else:
        received = b""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                status = 408
                break
            received += message["body"]
            if not message["more_body"]:
                break
        if path == "echo" and status == 200:
            body = received
    if path == "large":
        body = b"x" * int(seconds)
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


application = serving.Served(_answer)
