"""The single writer of subscriptions."""
