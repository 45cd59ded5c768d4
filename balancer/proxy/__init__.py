"""One client connection from accept to the last byte: HTTP exchange, tunnel, TCP mode, replies, access log."""
