"""All proxies there are, installed or not."""

from bench.peers.balancer import BALANCER
from bench.peers.haproxy import HAPROXY
from bench.peers.nginx import NGINX
from bench.peers.peer import Peer

PEERS: list[Peer] = [BALANCER, HAPROXY, NGINX]
SUBJECT = BALANCER.name
"""The proxy that is compared with the others."""
