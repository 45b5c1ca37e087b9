"""The admin's home page: today's work, a section for each kind of it, above the models by task."""
