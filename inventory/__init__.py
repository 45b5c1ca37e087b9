"""Products and their stock: what is on hand and what open orders reserve, which is never more.

Orders and sales may import from here; inventory imports shop alone.
"""
