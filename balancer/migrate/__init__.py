"""From other balancers' configurations to ours: reading theirs, writing ours, and listing what has no counterpart."""
