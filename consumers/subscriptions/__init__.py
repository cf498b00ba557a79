"""The compacted topic `subscriptions` as a table in memory."""
