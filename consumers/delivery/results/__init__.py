"""Results of requests: the end of a delivery, endpoint health, outcome records, the outcome log."""
