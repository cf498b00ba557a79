"""All that reads topics: the router and delivery."""
