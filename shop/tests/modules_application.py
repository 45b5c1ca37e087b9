"""The shop's application, which also says at `/test/modules` which modules its process has imported."""

import sys

# The first, since it sets Django up.
from shop.asgi import application as shop, serving


async def _answer(scope, receive, send):
    """`/test/modules` lists the imported modules, a line each; everything else is the shop's."""
    if scope.get("path") != "/test/modules":
        await shop(scope, receive, send)
        return
    body = "\n".join(sys.modules).encode()
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


application = serving.Served(_answer, at_start=(lambda: shop.start(request_seconds=3),))
