"""Events: the feed of what happened, and the webhook endpoints to which it is delivered."""
