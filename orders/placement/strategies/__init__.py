"""The strategies for concurrent orders of the same stock: one module each, all with the same signature."""
