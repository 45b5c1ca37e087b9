"""What is measured on a stage: loads by k6, open connections, paid orders, and rows of several loads."""
