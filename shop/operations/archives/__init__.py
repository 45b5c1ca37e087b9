"""Archives: a table's month in a compressed file, which is verified before its rows are deleted."""
