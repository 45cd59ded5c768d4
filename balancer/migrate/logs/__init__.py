"""Access logs of other balancers: which request went to which server, and what there is about it to know."""
