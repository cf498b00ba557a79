"""Settings: names, types, defaults and descriptions."""
