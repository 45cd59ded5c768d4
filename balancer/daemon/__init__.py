"""The processes of the daemon: supervisor, control and workers."""
