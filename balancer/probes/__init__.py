"""Health probes: HTTP, TCP, TLS, WebSocket and agent checks over one bounded connection."""
