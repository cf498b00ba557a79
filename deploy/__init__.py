"""The composition root and everything around it."""
