"""Django's pages: its handler behind ASGI, middlewares, CSV, and responses made in parts."""
