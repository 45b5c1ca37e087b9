"""What was measured, for people: tables, plots, results as JSON, and the pages of docs/ that show them.

Imports `scripts.bench.workloads` for the names of rows; `scripts.bench.stage` and the workloads know nothing
of it. `documents` and `drawing` know nothing of the bench, and the lab uses them too.
"""
