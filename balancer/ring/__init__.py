"""Placement: hash functions, rings, plans of changes, explanations. Pure."""
