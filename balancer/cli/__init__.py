"""The command line: one file for each group of verbs, each adding its parsers; no logic of its own."""

from balancer.cli.command import main as main
