"""API keys: their text form, and the keyed hashes by which they are recognised."""
