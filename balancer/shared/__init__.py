"""Pieces that several processes or packages share: counters in shared memory, histograms, the log level."""
