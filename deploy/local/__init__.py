"""A broker, a receiver and all roles on this machine."""
