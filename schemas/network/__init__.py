"""Rules for the URLs and addresses that deliveries may use."""
