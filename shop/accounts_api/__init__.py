"""The calls of the API about accounts: registering, signing in, refreshing, signing out."""
