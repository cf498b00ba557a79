"""Usual mistakes with the parts of a signed request. Each module yields what the right part may have been. Pure."""
