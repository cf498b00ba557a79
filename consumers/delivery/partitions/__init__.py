"""Partitions of delay topics: assignment, reading, progress, commits."""
