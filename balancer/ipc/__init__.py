"""Messages between the processes of one daemon, and the sockets that carry them."""
