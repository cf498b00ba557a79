"""What others would have taken instead: `make bench-peers`. Needs Java 17 and Maven; Bento where it is installed."""
