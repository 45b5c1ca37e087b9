"""The launch board: a page that shows a drop as it happens, updated every second by server-sent events."""
