"""The Redis side of the strategy `code_pool`: a campaign's codes as a list, and how it is healed."""
