"""Input by people: durations, sizes, files with line numbers, and suggestions for misspelt names."""
