"""Tests of API keys without a broker."""
