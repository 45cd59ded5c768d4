"""HTTP/1.1 heads, framing, forwarding rules, tokens, WebSocket handshakes and the PROXY protocol. Sans-io."""
