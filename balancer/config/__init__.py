"""Configuration: the typed model, loading, and every problem in one go. Pure: no I/O but reading the named files."""
