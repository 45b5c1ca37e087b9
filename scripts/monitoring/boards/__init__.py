"""The dashboards, one in each module: what each shows, as data."""
