"""The admin's home page: today's figures, what opens next, and the work, a section for each kind of it."""
