"""The addresses of a frontend: its ``bind`` lines and their certificates (haproxy 2.6, sections 4.2 and 5.1)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import pairwise
from pathlib import Path

from balancer.config.scalars import shown
from balancer.migrate.haproxy.known_bind import OPTIONS, effect
from balancer.migrate.haproxy.proxy import Proxy
from balancer.migrate.haproxy.scalars import where
from balancer.migrate.haproxy.words import BadLine, Line, split
from balancer.migrate.outcome import Effect, Notes

_AUTHORITIES = ("ca-file", "ca-verify-file")
_KEY_MARK = b"PRIVATE KEY-----"
_BESIDE_CERTIFICATES = (".issuer", ".key", ".ocsp", ".sctl")
_BUNDLE = (".ecdsa", ".rsa")
"""What haproxy appends to the name of a ``crt`` file that does not exist: certificates of one host, by algorithm."""
_MAX_PORTS = 1024


@dataclass(frozen=True)
class Bases:
    """Bases of relative paths: of all files (``default-path``), of certificates and of CA files."""

    files: Path
    crt: Path | None = None
    ca: Path | None = None

    def certificate(self, name: str) -> Path:
        """Return the path of a ``crt`` file."""
        return self.files / (self.crt or "") / name

    def authority(self, name: str) -> Path:
        """Return the path of a ``ca-file``."""
        return self.files / (self.ca or "") / name


@dataclass(frozen=True)
class AskedClients:
    """What clients are asked for: a certificate by one of the authorities."""

    kind: str
    """``required`` or ``optional``."""
    authorities: Path
    crl: Path | None


@dataclass(frozen=True)
class Bind:
    """A bind line; addresses are written as in our configuration."""

    line: Line
    addresses: tuple[str, ...]
    options: Mapping[str, str]
    certificates: tuple[tuple[Path, Path], ...]
    """Certificate chains and keys; the first pair is the default."""
    min_version: str
    client: AskedClients | None = None
    listed: bool = False
    """Whether a list of certificates asks for those of clients."""

    @property
    def tls(self) -> bool:
        """Return whether it terminates TLS."""
        return "ssl" in self.options

    @property
    def barred(self) -> Iterator[tuple[str, str]]:
        """Yield each option that keeps clients out and has no counterpart, and the reason."""
        if self.tls and self.client is None and self.options.get("verify", "none") == "required":
            yield "bind verify", "the authorities are not in one file"
        for option in ("interface", "namespace", "tcp-md5sig"):
            if option in self.options:
                yield f"bind {option}", "listeners are not limited to it: use nftables"
        if self.listed:
            yield "bind crt-list", "it asks clients of some names for certificates, and a listener asks all or none"


def binds(proxy: Proxy, bases: Bases, defaults: Sequence[str], notes: Notes) -> list[Bind]:
    """Return the bind lines of a proxy; ``defaults`` are the words of ``ssl-default-bind-options``."""
    found = []
    for line in proxy.all("bind"):
        try:
            found.append(_bind(line, bases, defaults, notes))
        except (ValueError, BadLine) as error:
            notes.problem(line.file, line.number, "bind", str(error))
    return found


def _bind(line: Line, bases: Bases, defaults: Sequence[str], notes: Notes) -> Bind:
    if len(line.words) < 2:
        raise ValueError("expected an address and a port, such as :443")
    pairs = list(_options(line.words[2:]))
    options = dict(pairs)
    for option, (_, message) in OPTIONS.items():
        if option in options and message:
            notes.remark(line.file, line.number, f"bind {option}", message, effect(option))
    if "h2" in options.get("alpn", "").split(",") + options.get("npn", "").split(",") + [options.get("proto")]:
        notes.remark(
            line.file,
            line.number,
            "bind alpn",
            "HTTP/2 is not supported: browsers fall back to HTTP/1.1",
            Effect.CHANGED,
        )
    addresses = [each for part in line.words[1].split(",") for each in _addresses(part, options, line, notes)]
    client = _client(options, bases) if "ssl" in options else None
    if client is None and options.get("verify") == "optional":
        message = "clients are not asked for certificates: the authorities are not in one file"
        notes.remark(line.file, line.number, "bind verify", message)
    lists = [value for option, value in pairs if option == "crt-list"]
    certificates = [each for option, value in pairs for each in _certificates(option, value, bases, line, notes)]
    if "ssl" in options and not certificates:
        raise ValueError("ssl needs a certificate: crt FILE")
    chosen = tuple(dict.fromkeys(certificates)) if "ssl" in options else ()
    version = _min_version([word for pair in _options(defaults) for word in pair], pairs, line, notes)
    return Bind(
        line, tuple(addresses), options, chosen, version, client, any(_asks(bases.files / name) for name in lists)
    )


def _client(options: Mapping[str, str], bases: Bases) -> AskedClients | None:
    """Return what clients are asked for, None if that is nothing or no single file has the authorities."""
    kind, named = options.get("verify", "none"), [options[each] for each in _AUTHORITIES if each in options]
    if kind not in ("required", "optional") or len(set(named)) != 1 or named[0].startswith("@"):
        return None
    path = bases.authority(named[0])
    crl = bases.authority(options["crl-file"]) if "crl-file" in options else None
    return None if path.is_dir() else AskedClients(kind, path, crl)


def _options(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    rest = iter(words)
    for word in rest:
        if word not in OPTIONS:
            close = get_close_matches(word, OPTIONS, 1)
            hint = f"; did you mean {shown(close[0])}?" if close else ""
            raise ValueError(f"{shown(word)} is not an option of bind{hint}")
        argument = next(rest, None) if OPTIONS[word][0] else ""
        if argument is None:
            raise ValueError(f"{word} needs an argument")
        yield word, argument


def _addresses(text: str, options: Mapping[str, str], line: Line, notes: Notes) -> Iterator[str]:
    given = where(text)
    if given.path:
        notes.remark(line.file, line.number, "bind", "listeners on Unix sockets are not supported: not converted")
        return
    if given.first is None or given.last is None or given.relative:
        raise ValueError(f"{shown(text)} has no port")
    if given.is_name:
        raise ValueError(f"{shown(given.host)} is a name: write the IP address to listen on")
    if not given.first <= given.last < given.first + _MAX_PORTS or given.first == 0:
        raise ValueError(f"expected a port, or a range of {_MAX_PORTS} at most, in {shown(text)}")
    for port in range(given.first, given.last + 1):
        if given.host == "::" and "v6only" not in options:  # Linux accepts IPv4 too unless v6only is set
            yield f"0.0.0.0:{port}"
        host = given.host or "0.0.0.0"
        yield f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _certificates(option: str, value: str, bases: Bases, line: Line, notes: Notes) -> Iterator[tuple[Path, Path]]:
    if option == "crt-list":
        yield from _crt_list(bases.files / value, bases, line, notes)
    elif option in ("crt", "default-crt"):
        path = bases.certificate(value)
        if path.is_dir():
            files = sorted(each for each in path.glob("[!.]*") if each.is_file())
            chains = [each for each in files if each.suffix not in _BESIDE_CERTIFICATES]
            if not chains:
                raise ValueError(f"the directory {path} has no certificates")
            yield from map(_pair, chains)
        else:
            yield from _pairs(path)


def _pairs(path: Path) -> list[tuple[Path, Path]]:
    """Return the chain and key of a ``crt`` file, or those of a bundle of that name."""
    bundle = [Path(f"{path}{suffix}") for suffix in _BUNDLE]
    found = [each for each in bundle if each.is_file()] if not path.exists() else []
    return [_pair(each) for each in found or [path]]


def _pair(chain: Path) -> tuple[Path, Path]:
    """Return the chain and its key, which haproxy expects in the same file or in one whose name ends in ``.key``."""
    for key in (Path(f"{chain}.key"), chain.with_suffix(".key")):
        if key.is_file() and chain.is_file() and _KEY_MARK not in chain.read_bytes():
            return chain, key
    return chain, chain


def _crt_list(path: Path, bases: Bases, line: Line, notes: Notes) -> Iterator[tuple[Path, Path]]:
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
    for number, entry in enumerate(text.splitlines(), 1):
        words = split(entry.replace("[", " [ ").replace("]", " ] "), lambda _, default: default or "")
        if not words:
            continue
        if len(words) > 1:
            message = "options and names of a certificate: here the names in it choose it"
            notes.remark(str(path), number, "crt-list", message)
        yield from _pairs(bases.certificate(words[0]))


def _asks(path: Path) -> bool:
    """Return whether a ``crt-list`` requires certificates of clients."""
    words = path.read_text().replace("[", " ").replace("]", " ").split()
    return ("verify", "required") in pairwise(words)


def _min_version(defaults: Sequence[str], own: Sequence[tuple[str, str]], line: Line, notes: Notes) -> str:
    """Return ``1.2`` or ``1.3``. Options that forbid versions add up; the last ``ssl-min-ver`` counts."""
    words = [*defaults, *(word for pair in own for word in pair)]
    least = [after for word, after in pairwise(words) if word == "ssl-min-ver"]
    if least and least[-1] in ("SSLv3", "TLSv1.0", "TLSv1.1"):
        notes.remark(line.file, line.number, "bind ssl-min-ver", "TLS before 1.2 is not supported")
    elif {"force-sslv3", "force-tlsv10", "force-tlsv11"} & set(words):
        notes.remark(line.file, line.number, "bind force-tls", "TLS before 1.2 is not supported")
    if least[-1:] == ["TLSv1.3"] or {"no-tlsv12", "force-tlsv13"} & set(words):
        return "1.3"
    return "1.2"
