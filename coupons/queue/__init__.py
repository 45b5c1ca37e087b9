"""The strategy `queue`: tickets, the stream in Redis, and the worker that settles it."""
