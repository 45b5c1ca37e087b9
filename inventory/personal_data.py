"""Personal data of inventory: how its rows belong to accounts, and what an erasure does to them."""

from accounts.personal_data.registry import REGISTRY, Erasure, PersonalData, kept_for_good

REGISTRY.update(
    {
        "inventory.StockMovement": kept_for_good("order__account"),
        "inventory.CarriedStock": "sums by product of stock movements that release 2.0 archived",
        "inventory.LostDemand": PersonalData("account", Erasure.DELETED, "two days"),
        "inventory.ProductDay": "sums by product and day",
        "inventory.Product": "what the shop sells, to everyone",
        "inventory.Delivery": "goods that arrived",
    }
)
