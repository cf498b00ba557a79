"""The demo: simulated events and a tally of what became of them."""
