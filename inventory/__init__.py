"""Products and their stock: what is on hand, what open orders reserve, and never more.

Orders may import from here; inventory imports shop alone.
"""
