"""How pages write instants, by language: as times of the shop, whose zone is named."""
