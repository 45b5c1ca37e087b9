"""Sales: windows in which products are sold, and the waiting rooms that admit accounts to order them."""
