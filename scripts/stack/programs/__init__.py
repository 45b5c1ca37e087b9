"""Programs that are not the shop's own. `system_packages` and `node_packages` need the standard library
alone."""
