"""What is read of each partition, what of it is finished, and how that is committed."""
