"""`balancer reload`: apply the configuration file, or show what that would change."""

import argparse

from balancer.cli.live import add_verb, as_json, daemon


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb to the command's parser."""
    about = "apply the daemon's configuration file, all of it or nothing; open connections are kept"
    parser = add_verb(verbs, "reload", _reload, about, reads=True, of_pool=False)
    parser.add_argument("--dry-run", action="store_true", help="only show what would change")


def _reload(args: argparse.Namespace) -> str:
    client, body = daemon(args), {"dry_run": args.dry_run}
    if args.json:
        return as_json(client.ask("POST", "/v1/reload", body))
    return client.text("POST", "/v1/reload", body).rstrip("\n")
