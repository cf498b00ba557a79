"""What a response means: for its job, for its endpoint and for whoever watches."""
