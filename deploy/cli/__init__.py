"""The `signpost` command."""
