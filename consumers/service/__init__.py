"""What every role needs to run: startup, signals, restart policy, status server and metrics."""
