"""Read the files that a configuration names (certificates, keys, authorities, the secret) and find their problems.

They are read once, by control, so that everything that uses them has the same, also a worker that starts later.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from balancer.config import key_file
from balancer.config.certificates import (
    CertificateInfo,
    chain_pem,
    describe,
    file_name,
    key_pem,
    parse_chain,
    parse_key,
    public,
    read_file,
)
from balancer.config.client_certificates import read_client_certificates
from balancer.config.contents import Certificates, Clients, NamedFiles
from balancer.config.error_pages import read_pages
from balancer.config.finding import Finding, Key
from balancer.config.listener import CertificateConfig
from balancer.config.model import Config
from balancer.config.pem import Pem, by_name, covers
from balancer.config.pool import BackendTlsConfig, HealthTlsConfig
from balancer.config.scalars import shown
from balancer.config.settings import BackendTlsSettings, ErrorPage
from balancer.config.token_file import read_token

EXPIRY_NOTICE = 14 * 86400.0
"""Seconds before a certificate expires from which on ``check`` warns about it."""
PLACEHOLDER = "c35ef2ebdb3404b37d1d78cf4dfc061be15aa7d74fd1821379e28909f1937cdd"
"""SHA-256 fingerprint of conf/tls/ide.example.crt, whose key is public."""
_MIN_RSA_BITS = 2048


class FileReader:
    """Reads the files of ``config``; ``findings`` are their problems. ``now`` is Unix time.

    What is returned is complete only if there are no findings but warnings.
    """

    def __init__(self, config: Config, now: float) -> None:
        self.findings: list[Finding] = []
        self._config = config
        self._now = now

    def read(self) -> NamedFiles:
        """Read them all."""
        certificates, clients = self.certificates(), self.clients()
        self._redirects(certificates)
        self._token()
        self._challenges()
        secrets, findings = key_file.read(self._config)
        self.findings += findings
        backend_tls, probe_tls = {}, {}
        for i, pool in enumerate(self._config.pool):
            traffic = self._backend_tls(("pool", i, "tls"), pool.tls)
            own = self._backend_tls(("pool", i, "health", "tls"), pool.health.tls)
            if pool.tls.enabled:
                backend_tls[pool.name] = traffic
            if pool.health.type == "tls" and (pool.health.tls.model_fields_set or not pool.tls.enabled):
                probe_tls[pool.name] = own
            elif pool.tls.enabled and pool.health.type in ("tls", "http", "websocket"):
                probe_tls[pool.name] = traffic
        return NamedFiles(certificates, clients, self._error_pages(), backend_tls, probe_tls, secrets)

    def certificates(self) -> dict[str, tuple[Pem, ...]]:
        """Read those of the listeners."""
        return {
            listener.name: self._listener(("listener", i, "tls", "certificates"), listener.tls.certificates)
            for i, listener in enumerate(self._config.listener)
            if listener.tls is not None
        }

    def clients(self) -> Clients:
        """Read what certificates of clients are verified by."""
        found = {}
        for i, listener in enumerate(self._config.listener):
            tls = listener.tls
            if tls and (read := read_client_certificates(("listener", i, "tls"), tls, self._now, self.findings)):
                found[listener.name] = read
        return found

    def _error_pages(self) -> dict[str, dict[int, ErrorPage]]:
        return {
            listener.name: read_pages(("listener", i, "error_pages"), listener.error_pages, self.findings)
            for i, listener in enumerate(self._config.listener)
            if listener.error_pages
        }

    def _redirects(self, certificates: Certificates) -> None:
        names = {name for each in certificates.values() for certificate in each for name in certificate.names}
        for i, listener in enumerate(self._config.listener):
            host = (listener.redirect or "").partition("://")[2].partition(":")[0].lower().rstrip(".")
            if host and names and not covers(names, host):
                message = f"no certificate of this file covers {shown(host)}: clients get 421"
                reads = tuple(("listener", j, "tls") for j in range(len(self._config.listener)))
                self.findings.append(Finding(("listener", i, "redirect"), message, reads, warning=True))

    def _token(self) -> None:
        path = self._config.admin.token_file
        if path is not None:
            try:
                read_token(path)
            except ValueError as error:
                self._refuse(("admin", "token_file"), str(error))

    def _challenges(self) -> None:
        for i, listener in enumerate(self._config.listener):
            folder = listener.acme_challenge.folder if listener.acme_challenge else None
            if folder is not None and not folder.is_dir():
                self._warn(("listener", i, "acme_challenge", "folder"), f"{file_name(folder)} is not a folder yet")

    def _listener(self, at: Key, pairs: Sequence[CertificateConfig]) -> tuple[Pem, ...]:
        found = {(*at, i): self._pair((*at, i), pair) for i, pair in enumerate(pairs)}
        certificates = tuple(filter(None, found.values()))
        used = {each for group in by_name(certificates).values() for each in group}
        for key, certificate in list(found.items())[1:]:
            if certificate is not None and certificate not in used:
                why = "an earlier one has its names" if certificate.names else "it has no names"
                self._warn((*key, "cert"), f"{file_name(pairs[int(key[-1])].cert)} is never used: {why}")
        return certificates

    def _backend_tls(self, at: Key, tls: BackendTlsConfig | HealthTlsConfig) -> BackendTlsSettings:
        authorities = certificate = None
        if tls.ca_file is not None:
            try:
                authorities = chain_pem(parse_chain(tls.ca_file, read_file(tls.ca_file)))
            except ValueError as error:
                self._refuse((*at, "ca_file"), str(error))
        if isinstance(tls, BackendTlsConfig) and tls.cert is not None and tls.key is not None:
            certificate = self._pair(at, CertificateConfig(cert=tls.cert, key=tls.key), served=False)
        return BackendTlsSettings(True, tls.verify, authorities if tls.verify else None, tls.server_name, certificate)

    def _pair(self, at: Key, pair: CertificateConfig, *, served: bool = True) -> Pem | None:
        """A pair ``served`` to clients should name hosts; one that is presented to backends need not."""
        chain: list[x509.Certificate] = []
        info = None
        try:
            chain = parse_chain(pair.cert, read_file(pair.cert))
            info = describe(pair.cert, chain[0])
        except ValueError as error:
            self._refuse((*at, "cert"), str(error))
        else:
            self._judge((*at, "cert"), pair.cert, info, served=served)
            if info.fingerprint == PLACEHOLDER:
                message = (
                    "this is the placeholder of the source tree, whose key is public: use a certificate of your own"
                )
                self._warn((*at, "key"), message)
        key = self._key((*at, "key"), pair, chain)
        if info is None or key is None:
            return None
        return Pem(chain_pem(chain), key, info.names, chain[0].public_key_algorithm_oid.dotted_string)

    def _judge(self, at: Key, path: Path, info: CertificateInfo, *, served: bool) -> None:
        # Warnings only: an expired certificate must not keep the daemon from starting, or a file from being applied.
        name = file_name(path)
        if self._now > info.not_after:
            self._warn(at, f"{name} expired on {_date(info.not_after)}; renew it")
        elif info.not_after - self._now < EXPIRY_NOTICE:
            days = int((info.not_after - self._now) / 86400)
            self._warn(at, f"{name} expires in {days} days, on {_date(info.not_after)}")
        if self._now < info.not_before:
            self._warn(at, f"{name} is not valid before {_date(info.not_before)}; is the clock right?")
        if served and not info.alternative:
            only = f"only a common name, {shown(info.names[0])}" if info.names else "no name"
            self._warn(at, f"{name} has {only}: browsers require subjectAltName (RFC 9525) and refuse it")

    def _key(self, at: Key, pair: CertificateConfig, chain: list[x509.Certificate]) -> bytes | None:
        key_name, cert_name = file_name(pair.key), file_name(pair.cert)
        try:
            data = read_file(pair.key)
            key = parse_key(pair.key, data)
            mine = public(key.public_key())
            owned = [public(member.public_key()) == mine for member in chain]
        except ValueError as error:
            self._refuse(at, str(error))
            return None
        if chain and not any(owned):
            self._refuse(at, f"{key_name} is not the key of {cert_name}")
        elif chain and not owned[0]:
            number = owned.index(True) + 1
            self._refuse(at, f"{key_name} is the key of certificate {number} in {cert_name}: put that one first")
        if isinstance(key, RSAPrivateKey) and key.key_size < _MIN_RSA_BITS:
            self._refuse(at, f"{key_name} has {key.key_size} bits; OpenSSL refuses RSA keys below {_MIN_RSA_BITS}")
        return key_pem(data)

    def _refuse(self, at: Key, message: str) -> None:
        self.findings.append(Finding(at, message))

    def _warn(self, at: Key, message: str) -> None:
        self.findings.append(Finding(at, message, warning=True))


def _date(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M UTC")
