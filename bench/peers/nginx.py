"""nginx: https://nginx.org/en/docs"""

import os
import signal

from bench.peers.peer import Peer, Site

_CONFIGURATION = """
daemon off;
worker_processes {workers};
pid {folder}/nginx.pid;
error_log {folder}/nginx.err;
events {{ worker_connections 16384; }}
http {{
    access_log {log};
    keepalive_requests 1000000000;
    client_max_body_size 0;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
    upstream ide {{
        hash $arg_token consistent;
        {servers}
        keepalive 1024;
        keepalive_requests 1000000000;
    }}
    server {{
        listen 127.0.0.1:{plain};
        listen 127.0.0.1:{tls} ssl;
        ssl_certificate {certificate};
        ssl_certificate_key {key};
        ssl_protocols TLSv1.2 TLSv1.3;
        location / {{
            proxy_pass http://ide;
            proxy_http_version 1.1;
            proxy_set_header Host $http_host;
            proxy_set_header Connection $connection_upgrade;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header X-Forwarded-Host $http_host;
            proxy_set_header X-Request-ID $request_id;
            proxy_request_buffering off;
            proxy_max_temp_file_size 0;
            proxy_read_timeout 1h;
        }}
    }}
}}
"""


def _command(path: str, site: Site) -> list[str]:
    _configure(site, 1)
    return [path, "-e", f"{site.folder}/nginx.err", "-c", str(site.folder / "nginx.conf")]


def _configure(site: Site, weight: int) -> None:
    """Write the file, with this weight for the first backend."""
    servers = " ".join(
        f"server 127.0.0.1:{port} weight={1 if number else weight};" for number, port in enumerate(site.backends)
    )
    (site.folder / "nginx.conf").write_text(
        _CONFIGURATION.format(
            folder=site.folder,
            servers=servers,
            plain=site.plain,
            tls=site.tls,
            certificate=site.certificate,
            key=site.key,
            workers=site.setup.workers,
            log=site.access_log if site.setup.access_log else "off",
        )
    )


def _reload(site: Site, pid: int, nth: int) -> None:
    _configure(site, 1 + nth % 2)
    os.kill(pid, signal.SIGHUP)


NGINX = Peer("nginx", "nginx", ["-v"], r"nginx/(.+)", _command, {"reload": _reload})
