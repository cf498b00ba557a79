"""Avro: one tree of types, its walkers, and the binary encodings."""
