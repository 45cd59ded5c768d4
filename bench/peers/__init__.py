"""The proxies: how each is configured and started to do the same job, with as many workers or threads.

The job: a plain and a TLS listener with the same certificate; the backend chosen by consistent hashing of the query
parameter ``token``; HTTP/1.1 with kept connections to clients and backends; ``X-Forwarded-For``, ``-Proto`` and
``-Host`` and ``X-Request-ID`` set; bodies passed on as they come; WebSockets let through; backends probed with
``GET /`` (but by nginx, which cannot); metrics at a port of their own; limits as the balancer has them by default; no
access log, unless a scenario says so.
"""
