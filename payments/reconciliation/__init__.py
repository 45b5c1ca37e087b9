"""Our payments against the gateway's book of charges: comparison, differences, orphaned charges."""
