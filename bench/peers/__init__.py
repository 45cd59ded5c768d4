"""The proxies: how to configure and start each to do the same job, with the same number of workers or threads.

The job: a plain and a TLS listener with the same certificate; the backend chosen by consistent hashing of the query
parameter ``token``; HTTP/1.1 with kept connections to clients and backends; ``X-Forwarded-For``, ``-Proto`` and
``-Host`` and ``X-Request-ID`` set; bodies streamed; WebSockets forwarded; backends probed with ``GET /`` (except by
nginx, which cannot); metrics on a port of their own; the balancer's default limits; no access log, unless a scenario
requires it.
"""
