"""Benchmarks of this balancer and its peers, on one machine, in one run. See ``python -m bench --help``."""
