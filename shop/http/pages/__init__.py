"""Django's pages: its handler behind ASGI, middlewares, uploads, kept pages, and responses made in parts.

`shop.http.application` passes here what is no call of the API. Of `shop.http` the entry points alone
(`application`, `traced_application`) import from here; operators' pages use `streamed_responses`,
`csv_format` and `middleware`.
"""
