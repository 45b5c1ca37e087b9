"""What is measured on a stage: loads by k6, open connections, paid orders, and rows of several loads.

Imports the modules of `scripts.bench`, but neither `against` nor its other packages.
"""
