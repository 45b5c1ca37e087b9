"""Personal data of sales: how its rows belong to accounts, and what an erasure does to them."""

from accounts.personal_data.registry import REGISTRY, kept_for_good

REGISTRY.update(
    {
        "sales.SaleEntry": kept_for_good("account"),
        "sales.Sale": "when the shop sells what, to everyone",
        "sales.SaleProduct": "which products a sale has",
    }
)
