"""`make cluster`: the shop on a cluster of each of its servers, all on one machine's loopback."""
