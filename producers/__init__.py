"""Writers of the pipeline: events, subscriptions, and retries of dead letters."""
