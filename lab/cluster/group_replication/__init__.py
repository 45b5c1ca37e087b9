"""MySQL Group Replication: one group, whose primary writes."""
