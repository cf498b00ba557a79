"""Senders: how a product renders, signs and sends its webhooks. Each folder in this package is a built-in sender."""
