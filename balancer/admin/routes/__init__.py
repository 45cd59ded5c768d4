"""Handlers of the admin API, by topic."""
