"""Inspection of the pipeline: topics read for people."""
