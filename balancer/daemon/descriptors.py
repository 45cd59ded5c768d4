"""Raise the limit of file descriptors, and warn where it is too low.

A process may raise its soft limit up to the hard one (setrlimit(2)), and children inherit both. The soft limit is low
for the sake of programs that use select(2), of which we are none.
"""

import resource

OTHERS = 256
"""Descriptors of a worker beside its clients: listeners, idle connections to backends, and its own."""


def raise_limit() -> None:
    """Raise the soft limit of this process and its children to the hard limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def too_few(max_connections: int, workers: int) -> str:
    """Return a warning if so many workers cannot hold ``max_connections``; else an empty string."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = 2 * -(-max_connections // workers) + OTHERS  # a client's own, and one to its backend
    if limit == resource.RLIM_INFINITY or needed <= limit:
        return ""
    return (
        f"limits.max_connections = {max_connections} takes about {needed} file descriptors in each worker, and "
        f"a process may have {limit}: further clients will be refused; raise LimitNOFILE of the service"
    )
