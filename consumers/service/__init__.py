"""The runtime of a role: startup, signals, restart policy, status server and metrics."""
