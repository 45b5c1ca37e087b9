"""The waiting room of a sale: entries join it, a draw orders the early ones, and they are admitted in order.

`entries` joins and reads, `draw` orders, `admission` admits, expires and ends, `room_view` answers the polls
of a web process from its memory, and `ticking` keeps all of it moving. The database decides; Redis only wakes
requests that wait.
"""
