"""The colours of statuses on the admin's pages of sales."""

COLOURS = {
    "scheduled": "info",
    "open": "success",
    "paused": "danger",
    "closed": "default",
    "waiting": "info",
    "admitted": "warning",
    "used": "success",
    "expired": "default",
    "over": "default",
}
