"""The waiting room of a sale: entries join it, a draw orders the early ones, and they are admitted in order.
The database decides; Redis only wakes requests that wait.
"""
