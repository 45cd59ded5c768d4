"""`balancer sessions`: list or close open tunnels. `balancer certificates`: list active certificates."""

import argparse
from urllib.parse import quote, urlencode

from balancer.cli.live import TOKEN_HELP, add_verb, as_json, daemon, digest_of
from balancer.cli.tables import count, table
from balancer.config.scalars import format_duration


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verbs to the command's parser."""
    about = "list open tunnels: user, backend, client, duration, bytes"
    parser = add_verb(verbs, "sessions", _sessions, about, reads=True)
    parser.add_argument("--backend", metavar="NAME", help="only tunnels to this backend")
    parser.add_argument("--user", metavar="TOKEN", help=f"only tunnels of this user: {TOKEN_HELP}")
    parser.add_argument(
        "--limit", type=int, default=100, metavar="N", help="list at most N, oldest first (%(default)s)"
    )
    parser.add_argument("--close", metavar="SESSION", help="close this tunnel, named as in the first column")
    about = "list active certificates and when they expire"
    add_verb(verbs, "certificates", _certificates, about, reads=True, of_pool=False)


def _sessions(args: argparse.Namespace) -> str:
    client = daemon(args)
    if args.close is not None:
        found = client.ask("DELETE", f"/v1/sessions/{quote(args.close, safe='')}")
        return as_json(found) if args.json else f"{args.close} is closed"
    user = None if args.user is None else digest_of(client, args, args.user)[0]
    wanted = {"limit": args.limit, "pool": args.pool, "backend": args.backend, "user": user}
    query = urlencode({name: value for name, value in wanted.items() if value is not None})
    found = client.ask("GET", f"/v1/sessions?{query}")
    if args.json:
        return as_json(found)
    head = ["session", "user", "pool", "backend", "client", "open for", "sent", "received"]
    rows = [
        [
            each["session"],
            f"digest:{each['user']}" if each["user"] else "-",
            each["pool"],
            each["backend"],
            each["client"],
            format_duration(each["seconds"]),
            str(each["bytes_in"]),
            str(each["bytes_out"]),
        ]
        for each in found["sessions"]
    ]
    return count(found["count"], "open tunnel") + ("\n" + table(head, rows) if rows else "")


def _certificates(args: argparse.Namespace) -> str:
    found = daemon(args).ask("GET", "/v1/certificates")
    if args.json:
        return as_json(found)
    head = ["listener", "file", "names", "days left"]
    rows = [
        [each["listener"], each["file"], ", ".join(each["names"]), f"{each['days_left']:g}"]
        for each in found["certificates"]
    ]
    return table(head, rows) if rows else "no listener has TLS"
