from enum import StrEnum


class ApiKeyBodyScopesItem(StrEnum):
    ACT = "act"
    CAMPAIGNSREAD = "campaigns:read"
    CAMPAIGNSWRITE = "campaigns:write"
    COUPONSREAD = "coupons:read"
    COUPONSWRITE = "coupons:write"
    EVENTSREAD = "events:read"
    EVENTSWRITE = "events:write"
    ORDERSREAD = "orders:read"
    ORDERSWRITE = "orders:write"
    PAYMENTSREAD = "payments:read"
    PAYMENTSWRITE = "payments:write"
    PRODUCTSREAD = "products:read"
    PRODUCTSWRITE = "products:write"
    SALESREAD = "sales:read"
    SALESWRITE = "sales:write"
    WALLETREAD = "wallet:read"
    WALLETWRITE = "wallet:write"
    WEBHOOKSREAD = "webhooks:read"
    WEBHOOKSWRITE = "webhooks:write"

    def __str__(self) -> str:
        return str(self.value)
