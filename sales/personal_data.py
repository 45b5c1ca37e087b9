"""Personal data of sales: how its rows belong to accounts, and what an erasure does to them."""

from accounts.personal_data.registry import FOR_GOOD, REGISTRY, Erasure, PersonalData

REGISTRY.update(
    {
        "sales.SaleEntry": PersonalData("account", Erasure.KEPT, FOR_GOOD),
        "sales.Sale": "when the shop sells what, to everyone",
        "sales.SaleProduct": "which products a sale has",
    }
)
