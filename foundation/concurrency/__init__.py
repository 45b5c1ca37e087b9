"""The event loop of a web process, its thread pools, group commit, and limits for hot rows."""
