"""The board's addresses under /admin/board/."""

from django.contrib import admin
from django.urls import path

from shop.backoffice.board import actions, page

app_name = "board"
urlpatterns = [
    path("", admin.site.admin_view(page.board), name="page"),
    path("figures/", page.figures, name="figures"),
    path("campaigns/<int:pk>/pause/", actions.pause_campaign, name="pause-campaign"),
    path("campaigns/<int:pk>/resume/", actions.resume_campaign, name="resume-campaign"),
    path("campaigns/<int:pk>/quantity/", actions.raise_quantity, name="raise-quantity"),
    path("products/<int:pk>/pause/", actions.pause_product, name="pause-product"),
    path("products/<int:pk>/resume/", actions.resume_product, name="resume-product"),
    path("sales/<int:pk>/pause/", actions.pause_sale, name="pause-sale"),
    path("sales/<int:pk>/resume/", actions.resume_sale, name="resume-sale"),
]
