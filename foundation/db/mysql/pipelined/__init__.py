"""The MySQL backend with `DATABASE_PIPELINING`: deferred statements share a round trip with the next one."""
