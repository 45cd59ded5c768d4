"""`balancer demo`: three small IDE hosts, a fresh certificate, and a daemon in front of them."""
