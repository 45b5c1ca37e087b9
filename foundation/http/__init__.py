"""HTTP: how calls are read and answered in both lanes, Django's pages, and keyset pages without counts."""
