"""What people write: durations, sizes, files with line numbers, and suggestions for misspelt names."""
