"""What the demo says."""

from collections.abc import Mapping

from balancer.demo.setup import Setup
from balancer.demo.users import NAMES, token_of

PROMPT = "demo> "

COMMANDS = """\
  stop ide-02     end a host: its users reconnect and land on the next host of the ring
  start ide-02    start it again: its users return with their next connection
  users           who lands where, with the addresses
  help            this list
  quit            end the demo (so does Ctrl-C)"""

Places = Mapping[str, str | None]
"""The host on which each user's next connection lands, None while no host runs."""


def welcome(setup: Setup, places: Places, interactive: bool) -> str:
    """What runs where, what to click, and what to try."""
    hosts = "\n".join(f"  {name:10} http://{address}" for name, address in setup.hosts.items())
    token = token_of(NAMES[0])
    return f"""
Three IDE hosts, and a balancer that keeps every user on one of them:

  balancer   {_origin(setup)}
{hosts}

Open some users in a browser. It warns about the certificate, which was made a moment ago and vouches only for
itself: continue to localhost anyway.

{users(setup, places)}

Try this:
  - Open a user twice. Both tabs land on one host and see each other and the same files.
  - Write a file in one tab: write notes.txt hello
  - {_outage(interactive)}
  - Ask from a shell, without a warning:
      curl --cacert {setup.certificate.cert} '{_origin(setup)}/whoami?token={token}'
  - Ask the balancer why a user is where they are:
      balancer ring explain {token} --config {setup.config}

{COMMANDS if interactive else "Ctrl-C ends everything."}
"""


def users(setup: Setup, places: Places) -> str:
    """One line per user: the host, and the address to click."""
    return "\n".join(
        f"  {name:7} on {host or 'no host'}   {_origin(setup)}/?token={token_of(name)}" for name, host in places.items()
    )


def stopped(host: str, before: Places, after: Places) -> str:
    """A host has been stopped; who goes where."""
    moves = [f"{name} to {after[name] or 'no host, as none runs'}" for name in after if before[name] != after[name]]
    return f"{host} has stopped. With their next connection: {_listed(moves)}."


def started(host: str, before: Places, after: Places) -> str:
    """A host has been started; who returns."""
    back = [name for name in after if before[name] != after[name]]
    return f"{host} runs again. With their next connection, {_listed(back)} land on it and find their files again."


def _listed(parts: list[str]) -> str:
    if len(parts) < 2:
        return "".join(parts) or "nobody moves"
    return f"{', '.join(parts[:-1])} and {parts[-1]}"


def _origin(setup: Setup) -> str:
    return f"https://localhost:{setup.port}"


def _outage(interactive: bool) -> str:
    if interactive:
        return "Type below: stop ide-02. Its users' tabs move to other hosts; their files stay. Then: start ide-02."
    return "Run the demo in a terminal: there, hosts can be stopped and started while you watch their users move."
