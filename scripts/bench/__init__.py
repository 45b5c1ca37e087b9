"""`make bench`: what the shop does a second, beside what it does when it does nothing."""
