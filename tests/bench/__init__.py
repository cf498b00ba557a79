"""How fast and how large it is, beside what one would take instead: `make bench`. Nothing here is asserted."""
