"""HTTP: how an API call reaches its view, Django's pages beside it, and keyset pagination without counts.

`application` is the ASGI application, `views` dispatches a call to its view, `messages` has the call and its
response, `validation` parses bodies, `problems` turns errors into responses, `keyed_calls` is the HTTP side
of idempotency keys. `checks` refuses at the start what calls would ignore. `pages` has what Django's pages
need, `openapi` the OpenAPI document.
"""
