"""The certificates of a listener, read from their files as control reads them."""

from balancer.config.listener import ListenerConfig, TlsConfig
from balancer.config.model import Config
from balancer.config.named_files import FileReader
from balancer.config.pool import BackendConfig, PoolConfig
from balancer.config.settings import TlsSettings
from balancer.net.contexts import ServerContexts


def read(*certificates):
    tls = TlsConfig(certificates=certificates)
    listener = ListenerConfig(name="ide", bind=("127.0.0.1:0",), pool="ide", tls=tls)
    pool = PoolConfig(name="ide", backend=(BackendConfig(name="ide", address="127.0.0.1:1"),))
    reader = FileReader(Config(listener=(listener,), pool=(pool,)), now=0.0)
    found = reader.certificates()["ide"]
    assert not [each for each in reader.findings if not each.warning]
    return found


def serving(*certificates, min_version="1.2"):
    """The context that a listener's handshakes start with."""
    return ServerContexts(TlsSettings(read(*certificates), min_version)).activate().default
