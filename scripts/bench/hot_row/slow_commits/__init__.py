"""The shop's MySQL backend with the commit latency of a database that replicates before it answers."""
