"""`make bench`: what the shop does a second, beside what it does doing nothing, or beside another commit.

The lab shares its stage, k6, tables and plots: `stage`, `load`, `watching`, `documents`, `drawing`.
"""
