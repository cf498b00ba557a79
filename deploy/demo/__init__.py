"""The demo: simulated events, and counts of their deliveries."""
