"""Compile the data plane with mypyc where ``BALANCER_COMPILE=1`` asks for it; everything else is in pyproject.toml."""

import os
import tomllib

from setuptools import setup

COMPILED = [
    "balancer/http/body.py",
    "balancer/http/fast_response.py",
    "balancer/http/forward.py",
    "balancer/http/frames.py",
    "balancer/http/head.py",
    "balancer/http/query.py",
    "balancer/http/reader.py",
    "balancer/http/request_line.py",
    "balancer/http/scan.py",
    "balancer/http/token.py",
    "balancer/http/websocket.py",
    "balancer/net/admission.py",
    "balancer/net/connection_limit.py",
    "balancer/net/dial.py",
    "balancer/net/engine.py",
    "balancer/net/listen.py",
    "balancer/net/relay.py",
    "balancer/net/send_progress.py",
    "balancer/net/tls.py",
    "balancer/net/transport.py",
    "balancer/pool/backend.py",
    "balancer/pool/leases.py",
    "balancer/pool/pool.py",
    "balancer/pool/selection.py",
    "balancer/pool/traffic.py",
    "balancer/proxy/accesslog.py",
    "balancer/proxy/connect.py",
    "balancer/proxy/connection.py",
    "balancer/proxy/delivery.py",
    "balancer/proxy/duplex.py",
    "balancer/proxy/exchange.py",
    "balancer/proxy/greeting.py",
    "balancer/proxy/http_connection.py",
    "balancer/proxy/listener_state.py",
    "balancer/proxy/log_json.py",
    "balancer/proxy/log_lines.py",
    "balancer/proxy/record.py",
    "balancer/proxy/replies.py",
    "balancer/proxy/request_ids.py",
    "balancer/proxy/rule_answers.py",
    "balancer/proxy/serve.py",
    "balancer/proxy/stream.py",
    "balancer/proxy/tcp.py",
    "balancer/proxy/tunnel.py",
    "balancer/proxy/tunnel_registry.py",
    "balancer/proxy/upload.py",
    "balancer/proxy/worker_state.py",
    "balancer/shared/counters.py",
    "balancer/shared/histogram.py",
]


def main() -> None:
    """Build a wheel: of Python alone, or with the data plane compiled."""
    if os.environ.get("BALANCER_COMPILE") != "1":
        setup()
        return
    try:
        from mypyc.build import mypycify
    except ImportError:  # pip asks first what the build needs; the compiler has to see the types of what is imported
        with open("pyproject.toml", "rb") as file:
            project = tomllib.load(file)["project"]
        setup(setup_requires=project["optional-dependencies"]["compile"] + project["dependencies"])
    else:
        setup(ext_modules=mypycify(COMPILED, opt_level="2", group_name="balancer"))


main()
