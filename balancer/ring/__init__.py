"""Placement: hash functions, rings, the overlay operators steer, plan and explain. Pure."""
