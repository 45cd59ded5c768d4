"""`balancer demo`: embedded IDE hosts, a certificate made on the spot, and a daemon in front of them."""
