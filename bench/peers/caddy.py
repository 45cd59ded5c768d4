"""Caddy, from the package ``caddyserver``: https://caddyserver.com/docs"""

from bench.peers.peer import Peer, Site
from bench.peers.requests import scrape

# GOMAXPROCS is Go's number of processors. HOME: nothing of Caddy's is to stay behind.
_CONFIGURATION = """
{{
    admin 127.0.0.1:{admin}
    metrics
    persist_config off
    auto_https off
    default_sni localhost
    servers {{
        protocols h1
    }}
    log {{
        level ERROR
    }}
}}
(ide) {{
    {log}
    reverse_proxy {backends} {{
        lb_policy query token
        health_uri /
        health_interval {interval}s
        header_up X-Request-ID {{http.request.uuid}}
        transport http {{
            versions 1.1
            compression off
            keepalive_idle_conns_per_host 256
        }}
    }}
}}
http://:{plain} {{
    bind 127.0.0.1
    import ide
}}
https://:{tls} {{
    bind 127.0.0.1
    tls {certificate} {key}
    import ide
}}
"""


def _command(path: str, site: Site) -> list[str]:
    configuration = site.folder / "Caddyfile"
    configuration.write_text(
        _CONFIGURATION.format(
            backends=" ".join(f"127.0.0.1:{port}" for port in site.backends),
            plain=site.plain,
            tls=site.tls,
            certificate=site.certificate,
            key=site.key,
            admin=site.admin,
            interval=site.setup.interval,
            log=f"log {{\n output file {site.access_log}\n }}" if site.setup.access_log else "",
        )
    )
    home = [f"{name}={site.folder}" for name in ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME")]
    return [
        "env",
        f"GOMAXPROCS={site.setup.workers}",
        *home,
        path,
        "run",
        "--config",
        str(configuration),
        "--adapter",
        "caddyfile",
    ]


def _scrape(site: Site, pid: int, nth: int) -> None:
    scrape(site.admin)


CADDY = Peer("caddy", "caddy", ["version"], r"v([^ ]+)", _command, {"scrape": _scrape})
