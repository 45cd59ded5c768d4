"""Options of a ``bind`` line: converted (an empty text), or what they did and what to do instead."""

from balancer.migrate.outcome import Effect

_TLS = "TLS setting: the daemon uses OpenSSL's secure defaults"
_UNIX = "permissions of a Unix socket: set those of its directory"
_KERNEL = "set this in the kernel, with sysctl, ip or nftables"
_IGNORED = "lets clients with invalid certificates in: they are refused"
_NAMES = "names of authorities that clients are asked by: nothing to do, they are not sent"
_THREADS = "which threads serve the address: every worker does"

OPTIONS: dict[str, tuple[int, str]] = {
    "accept-netscaler-cip": (1, "NetScaler's header with the client's address is not supported: use accept-proxy"),
    "accept-proxy": (0, ""),
    "allow-0rtt": (0, _TLS),
    "alpn": (1, ""),
    "backlog": (1, _KERNEL),
    "ca-file": (1, ""),
    "ca-ignore-err": (1, _IGNORED),
    "ca-sign-file": (1, "generates certificates on demand: not supported"),
    "ca-sign-pass": (1, "generates certificates on demand: not supported"),
    "ca-verify-file": (1, ""),
    "ciphers": (1, _TLS),
    "ciphersuites": (1, _TLS),
    "client-sigalgs": (1, _TLS),
    "crl-file": (1, ""),
    "crt": (1, ""),
    "crt-ignore-err": (1, _IGNORED),
    "crt-list": (1, ""),
    "curves": (1, _TLS),
    "default-crt": (1, ""),
    "defer-accept": (0, _KERNEL),
    "ecdhe": (1, _TLS),
    "expose-fd": (1, "passes sockets to a new haproxy: a reload needs no new daemon"),
    "force-sslv3": (0, ""),
    "force-tlsv10": (0, ""),
    "force-tlsv11": (0, ""),
    "force-tlsv12": (0, "allows TLS 1.2 only: 1.3 is enabled too"),
    "force-tlsv13": (0, ""),
    "generate-certificates": (0, "generates certificates on demand: not supported"),
    "gid": (1, _UNIX),
    "group": (1, _UNIX),
    "guid-prefix": (1, "name in the statistics file: nothing to do"),
    "id": (1, "number in the statistics: nothing to do"),
    "idle-ping": (1, "HTTP/2 is not supported"),
    "interface": (1, ""),
    "ktls": (1, _TLS),
    "level": (1, "permissions of the statistics socket: everyone who can open admin.socket may do everything"),
    "maxconn": (1, ""),
    "mode": (1, _UNIX),
    "mss": (1, _KERNEL),
    "name": (1, "name in the statistics: nothing to do"),
    "namespace": (1, ""),
    "nbconn": (1, "reverse connections are not supported"),
    "nice": (1, "scheduling priority: all listeners have the same"),
    "no-alpn": (0, ""),
    "no-ca-names": (0, _NAMES),
    "no-sslv3": (0, ""),
    "no-strict-sni": (0, ""),
    "no-tls-tickets": (0, _TLS),
    "no-tlsv10": (0, ""),
    "no-tlsv11": (0, ""),
    "no-tlsv12": (0, ""),
    "no-tlsv13": (0, "disables TLS 1.3: it stays enabled"),
    "npn": (1, ""),
    "ocsp-update": (1, "OCSP stapling is not supported"),
    "prefer-client-ciphers": (0, _TLS),
    "prefer-server-ciphers": (0, _TLS),
    "process": (1, _THREADS),
    "proto": (1, ""),
    "quic-cc-algo": (1, "QUIC is not supported"),
    "quic-force-retry": (0, "QUIC is not supported"),
    "quic-socket": (1, "QUIC is not supported"),
    "severity-output": (1, "format of answers on the statistics socket: nothing to do"),
    "shards": (1, _THREADS),
    "sigalgs": (1, _TLS),
    "ssl": (0, ""),
    "ssl-max-ver": (1, "limits the TLS version: 1.3 stays enabled"),
    "ssl-min-ver": (1, ""),
    "strict-sni": (0, "rejects unknown names: here they get the first certificate"),
    "tcp-md5sig": (1, ""),
    "tcp-ut": (1, _KERNEL),
    "tfo": (0, _KERNEL),
    "thread": (1, _THREADS),
    "tls-ticket-keys": (1, "shares ticket keys between machines: each worker generates its own"),
    "transparent": (0, _KERNEL),
    "uid": (1, _UNIX),
    "user": (1, _UNIX),
    "v4v6": (0, ""),
    "v6only": (0, ""),
    "verify": (1, ""),
}
"""Options of a bind line: the number of arguments and a message, which is empty if the option is converted."""


def effect(option: str) -> Effect:
    """Return what it means that an option was left out."""
    message = OPTIONS[option][1]
    return Effect.NONE if message in (_TLS, _UNIX, _KERNEL, _THREADS) or "nothing to do" in message else Effect.TRAFFIC
