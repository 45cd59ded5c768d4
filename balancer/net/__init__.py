"""I/O of the data plane: the engine, transports, TLS, listening, dialling, idle connections, the relay."""
