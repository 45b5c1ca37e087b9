"""Sales: windows in which products are sold, and the waiting rooms that admit accounts to order them.

Start at `terms` and `waiting_room.entries`. `sales` imports `inventory` and `shop`; orders places its orders
by `order_checks`.
"""
