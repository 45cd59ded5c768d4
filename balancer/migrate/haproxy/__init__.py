"""From haproxy's configuration to ours, with every user on the host where haproxy has them."""
