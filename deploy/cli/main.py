"""The `signpost` command."""


def main() -> None:
    """Run the command line."""
