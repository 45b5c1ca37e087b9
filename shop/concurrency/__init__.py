"""The event loop of a web process, its pools of threads, group commit, and limits of hot rows."""
