"""Access logs of other balancers: which request went to which server."""
