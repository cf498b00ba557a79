"""From settings and files to the values that roles and commands need."""
