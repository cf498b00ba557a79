"""Avro: the tree of types, functions that walk it, and the binary encodings."""
