"""Settings and files, read and turned into the values that roles and commands need."""
