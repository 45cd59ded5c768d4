"""From nginx's configuration to ours: ``hash ... consistent``, and the servers and locations that use it."""
