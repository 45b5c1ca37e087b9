"""The API for programs that follow what happens: the event feed, and webhook endpoints."""
