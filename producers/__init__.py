"""All that writes into the pipeline: events, subscriptions, simulated traffic."""
