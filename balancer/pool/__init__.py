"""Backends at run time: their state, their selection for a token, their counters. Pure."""
