"""The command line: a module for each group of verbs. They parse, ask the daemon and print; the logic is elsewhere."""

from balancer.cli.command import main as main
