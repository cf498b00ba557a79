"""Delivery: reads jobs, sends signed requests, records outcomes."""
