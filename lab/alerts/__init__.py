"""Monitoring as code: what `ops/` holds is generated, checked and proven from here."""
