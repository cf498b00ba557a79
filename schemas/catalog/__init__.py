"""Closed lists of errors, failures, statuses and reasons: what each one means and what to do about it."""
