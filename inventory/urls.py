"""The app's addresses under /api/v1."""

from django.urls import path

from inventory import api

urlpatterns = [
    path("products", api.Products.as_view()),
    path("products/ranking", api.PopularProducts.as_view()),
    path("products/<int:product_id>", api.OneProduct.as_view()),
    path("products/<int:product_id>/pause", api.PauseProduct.as_view()),
    path("products/<int:product_id>/resume", api.ResumeProduct.as_view()),
    path("products/<int:product_id>/stock-adjustments", api.StockAdjustments.as_view()),
    path("products/<int:product_id>/stock", api.Stock.as_view()),
    path("products/<int:product_id>/stock-movements", api.StockMovements.as_view()),
]
