"""Publishing of events: publisher, JSON reader and validation."""
