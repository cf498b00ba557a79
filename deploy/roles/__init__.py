"""Composition of the roles from their parts."""
