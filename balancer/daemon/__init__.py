"""The process: start, signals, drain, exit."""
