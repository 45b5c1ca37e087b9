"""The app's addresses under /api/v1."""

from foundation.http.views import routes
from inventory import api

urlpatterns = routes(
    {
        "products": api.Products,
        "products/ranking": api.PopularProducts,
        "products/<int:product_id>": api.OneProduct,
        "products/<int:product_id>/pause": api.PauseProduct,
        "products/<int:product_id>/resume": api.ResumeProduct,
        "products/<int:product_id>/stock-adjustments": api.StockAdjustments,
        "products/<int:product_id>/stock": api.Stock,
        "products/<int:product_id>/stock-movements": api.StockMovements,
    }
)
