"""The compacted topic of subscriptions as a table in memory."""
