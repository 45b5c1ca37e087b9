"""The journal, the changes of its lines for erased accounts among it."""
