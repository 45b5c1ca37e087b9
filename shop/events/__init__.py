"""What happened: the journal, and the outbox that delivers its outgoing lines."""
