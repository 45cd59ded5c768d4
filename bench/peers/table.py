"""All known proxies, installed or not."""

from bench.peers.balancer import BALANCER
from bench.peers.caddy import CADDY
from bench.peers.envoy import ENVOY
from bench.peers.haproxy import HAPROXY
from bench.peers.nginx import NGINX
from bench.peers.peer import Peer

PEERS: list[Peer] = [BALANCER, HAPROXY, NGINX, ENVOY, CADDY]
SUBJECT = BALANCER.name
"""The proxy to compare with the others."""
