"""Django's MySQL backend with a watch for servers that hang, and schema changes that may be repeated."""
