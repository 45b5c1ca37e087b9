"""The event feed: what happened, each event once, in the order in which programs read it."""
