"""Personal data of inventory: how its rows belong to accounts, and what an erasure does to them."""

from accounts.personal_data.registry import REGISTRY, UNTIL_ARCHIVED, Erasure, PersonalData

REGISTRY.update(
    {
        "inventory.StockMovement": PersonalData("order__account", Erasure.KEPT, UNTIL_ARCHIVED),
        "inventory.CarriedStock": "sums of archived stock movements by product",
        "inventory.Product": "what the shop sells, to everyone",
        "inventory.Delivery": "goods that arrived",
    }
)
