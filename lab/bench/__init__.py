"""`make bench`: what the shop does a second, beside what it does doing nothing, or beside another commit."""
