"""Django's MySQL backend, with deferred statements, and a watch for servers that hang."""
