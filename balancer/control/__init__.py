"""What operators see and change: the admin API, metrics, the state file and its journal."""
