"""`balancer demo`: try the balancer without writing a configuration."""

import argparse

from balancer.demo.main import run_demo


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb to the command's parser."""
    parser = verbs.add_parser("demo", help="run a balancer with three demo IDE hosts on this machine")
    parser.add_argument("--port", type=int, default=8443, help="port to listen on, or the next free one (%(default)s)")
    parser.set_defaults(run=lambda args: run_demo(args.port))
