"""The parsers of `balancer check`, `import` and `demo`, which need no running daemon."""

import argparse
from functools import partial
from pathlib import Path

from balancer.cli.late import late

_PEERS = {
    "haproxy": "haproxy's files, or directories of *.cfg, in the order of its -f options",
    "nginx": "nginx.conf; the files it includes are read too",
}


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verbs to the command's parser."""
    parser = verbs.add_parser("check", help="validate a configuration file; report every problem")
    parser.add_argument("--config", required=True, type=Path, metavar="FILE", help="the configuration file to check")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    parser.set_defaults(run=late("cli.check:run"))
    parser = verbs.add_parser("demo", help="run a balancer with three demo IDE hosts on this machine")
    parser.add_argument("--port", type=int, default=8443, help="port to listen on, or the next free one (%(default)s)")
    parser.set_defaults(run=lambda args: late("demo.main:run_demo")(args.port))
    own = verbs.add_parser("import", help="convert a haproxy or nginx configuration").add_subparsers(
        metavar="BALANCER", required=True
    )
    for peer, files_help in _PEERS.items():
        about = f"convert a configuration of {peer}"
        parser = own.add_parser(peer, help=about, description=about)
        parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help=files_help)
        parser.add_argument(
            "-o", "--output", type=Path, metavar="NEW", help="file to create (default: standard output)"
        )
        parser.add_argument(
            "--allow-open",
            action="store_true",
            help="write listeners although something that keeps clients out of them cannot be converted",
        )
        parser.add_argument(
            "--json", action="store_true", help="print the summary and the remarks as JSON (to stderr without -o)"
        )
        parser.set_defaults(run=partial(late("cli.import_:run"), peer))
