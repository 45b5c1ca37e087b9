"""The strategy `queue`: tickets, the stream in Redis, the worker that serves it, and settlement."""
