"""`make bench`: what the shop does a second, beside what it does doing nothing, or beside another commit.

At this level is what each measurement starts from: `stage` (a seeded stack), `load` (k6), `watching` (its
processes), `rows` and `sizes`. `workloads` measures on it, `report` writes what was measured, `against`
compares two stacks. The lab shares the stage, k6, tables and plots.
"""
