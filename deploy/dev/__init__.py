"""Development on one machine: a broker, a receiver, and all roles under a supervisor."""
