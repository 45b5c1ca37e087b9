"""The colours of statuses on the admin's pages of campaigns and coupons."""

COLOURS = {
    "scheduled": "info",
    "open": "success",
    "issued": "success",
    "available": "success",
    "sold_out": "warning",
    "paused": "danger",
    "held": "warning",
    "waiting": "info",
    "void": "danger",
    "failed": "danger",
}
