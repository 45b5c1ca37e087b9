"""The calls of the contract about accounts."""
