"""A load balancer that keeps every user on one host: TLS in, token read, the right IDE host out."""
