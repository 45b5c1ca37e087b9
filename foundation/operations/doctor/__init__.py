"""The doctor: checks whether the environment keeps the shop's promises, and says what to do if not."""
