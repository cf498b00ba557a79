"""Closed lists: errors, failures, statuses and reasons, each with what it means and what to do."""
