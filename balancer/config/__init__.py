"""Configuration: the typed model, and loading with a report of every problem. Its only I/O is reading files."""
