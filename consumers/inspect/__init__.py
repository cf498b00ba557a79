"""What operators look at: explanations, tails, lag, dead letters and endpoints."""
