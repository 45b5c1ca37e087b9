"""The outside systems of the shop, as processes that can be started, steered and killed."""
