"""Benchmarks of speed and memory, with yardsticks: `make bench`. They assert no figures."""
