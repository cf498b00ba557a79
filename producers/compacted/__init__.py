"""Compacted topics as their writers see them: read to the end, exclusive access, acknowledgement."""
