"""Jobs in, signed requests out, outcomes on record."""
