"""What the roles share."""
