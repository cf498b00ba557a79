"""Senders: how a product renders, signs and sends its webhooks. Each folder here is a built-in sender."""
