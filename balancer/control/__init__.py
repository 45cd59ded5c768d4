"""Control: placement, health, workers and reloads of the running daemon."""
