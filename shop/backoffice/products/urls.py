"""Addresses of the product's page and of its actions, below `/admin/products/`."""

from django.contrib import admin
from django.urls import path

from shop.backoffice.products import page

urlpatterns = [
    path("<int:product_id>/", admin.site.admin_view(page.show), name="product-page"),
    path("<int:product_id>/limit/", admin.site.admin_view(page.change_limit), name="product-limit"),
]
