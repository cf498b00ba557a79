"""Events in, jobs out."""
