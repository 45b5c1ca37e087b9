"""Django's pages: its handler behind ASGI, middlewares, uploads, kept pages, and responses made in parts."""
