"""The board's addresses under /admin/board/."""

from django.contrib import admin
from django.urls import path

from shop.backoffice.board import actions, page

app_name = "board"
urlpatterns = [
    path("", admin.site.admin_view(page.board), name="page"),
    path("figures/", page.figures, name="figures"),
    *(
        path(f"{kind}/<int:pk>/{action}/", actions.press, {"kind": kind, "action": action})
        for kind, action in actions.BUTTONS
    ),
]
