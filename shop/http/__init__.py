"""HTTP: how an API call reaches its view, Django's pages beside it, and keyset pagination without counts."""
