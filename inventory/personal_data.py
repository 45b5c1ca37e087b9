"""Personal data of inventory: how its rows belong to accounts, and what an erasure does to them."""

from accounts.personal_data.registry import FOR_GOOD, REGISTRY, Erasure, PersonalData

REGISTRY.update(
    {
        "inventory.StockMovement": PersonalData("order__account", Erasure.KEPT, FOR_GOOD),
        "inventory.CarriedStock": "sums by product of stock movements that release 2.0 archived",
        "inventory.LostDemand": PersonalData("account", Erasure.DELETED, "two days"),
        "inventory.ProductDay": "sums by product and day",
        "inventory.Product": "what the shop sells, to everyone",
        "inventory.Delivery": "goods that arrived",
    }
)
