"""Django's MySQL backend, and a watch for servers that hang."""
