"""Publishing of events: the publisher, the JSON reader and validation."""
