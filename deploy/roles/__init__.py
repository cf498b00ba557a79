"""Composition of the roles: each is put together from its parts here."""
