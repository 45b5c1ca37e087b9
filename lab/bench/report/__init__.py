"""What was measured, for people: tables, plots, results as JSON, and the pages of docs/ that show them."""
