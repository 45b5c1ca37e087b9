"""The admin's navigation: pages of the back office, then the models that the account may see, by app."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse


def sidebar(request: HttpRequest) -> list[dict[str, Any]]:
    """The groups of links beside each page, with those that the account may open."""
    pages = [
        {
            "title": "Launch board",
            "icon": "monitoring",
            "link": reverse("board:page"),
            "permission": "shop.backoffice.board.page.may_see",
        }
    ]
    return [{"title": "Now", "items": pages}, *(_group(app) for app in admin.site.get_app_list(request))]


def _group(app: dict[str, Any]) -> dict[str, Any]:
    models = app["models"]
    links = [
        {"title": model["name"], "link": model["admin_url"]} for model in models if model.get("admin_url")
    ]
    return {"title": app["name"], "separator": True, "items": links}
