"""haproxy: https://docs.haproxy.org"""

from bench.peers.peer import Peer, Site

_CONFIGURATION = """
global
    nbthread 1
defaults
    mode http
    option http-ignore-probes
    timeout connect 3s
    timeout client 60s
    timeout server 60s
    timeout tunnel 1h
frontend ide
    bind 127.0.0.1:{plain}
    bind 127.0.0.1:{tls} ssl crt {pem} alpn http/1.1
    unique-id-format %[uuid]
    unique-id-header X-Request-ID
    option forwardfor
    http-request set-header X-Forwarded-Proto https if {{ ssl_fc }}
    http-request set-header X-Forwarded-Proto http if !{{ ssl_fc }}
    http-request set-header X-Forwarded-Host %[req.hdr(host)]
    default_backend ide
backend ide
    balance url_param token
    hash-type consistent
"""


def _command(path: str, site: Site) -> list[str]:
    pem = site.folder / "site.pem"
    pem.touch(0o600)
    pem.write_bytes(site.certificate.read_bytes() + site.key.read_bytes())
    configuration = site.folder / "haproxy.cfg"
    text = _CONFIGURATION.format(plain=site.plain, tls=site.tls, pem=pem)
    for number, port in enumerate(site.backends, 1):
        text += f"    server ide-{number:02} 127.0.0.1:{port} weight 10\n"
    configuration.write_text(text)
    return [path, "-db", "-f", str(configuration)]


HAPROXY = Peer("haproxy", "haproxy", ["-v"], r"version ([^ ]+)", _command)
