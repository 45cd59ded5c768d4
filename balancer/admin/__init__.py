"""The admin API: server, routes, requests, responses, metrics, OpenAPI."""
