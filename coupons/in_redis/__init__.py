"""What Redis keeps of campaigns: it may refuse, never grant, and can all be made anew from the database."""
