"""One run of `signpost doctor`: `run.py` begins and ends it, `brokers.py` and `records.py` have its parts."""
