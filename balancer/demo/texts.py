"""What the demo says."""

from collections.abc import Mapping

from balancer.demo.setup import Setup
from balancer.demo.users import NAMES, token_of

PROMPT = "demo> "

COMMANDS = """\
  stop ide-02     end a host: its users reconnect and land on the next host of the ring
  start ide-02    start it again: its users return when they reconnect
  users           who is where, with the addresses
  help            this list
  quit            end the demo (so does Ctrl-C)"""

Places = Mapping[str, str | None]
"""The host that the balancer sends each user to, None if it has none."""


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
    moves = [f"{name} ({after[name] or 'no host'})" for name in after if before[name] != after[name]]
    return f"{host} has stopped. " + (f"Its users move: {_listed(moves)}." if moves else "It had no users.")


def started(host: str, own: list[str]) -> str:
    """A host has been started; who returns."""
    return f"""\
{host} runs again. {_listed(own)} belong there. Whoever has tabs open elsewhere stays with them, as all tabs of a user
stay together; they return, and find their files again, once all have let go: press Reconnect in one of them."""


def _listed(parts: list[str]) -> str:
    """``a, b and c``"""
    return " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))


def _origin(setup: Setup) -> str:
    return f"https://localhost:{setup.port}"


def _outage(interactive: bool) -> str:
    if interactive:
        return (
            "Type below: stop ide-02. Its users' tabs move to other hosts; their files stay.\n"
            "    Then: start ide-02, press Reconnect in a page, and its user is back with the files."
        )
    return "Run the demo in a terminal: there, hosts can be stopped and started while you watch their users move."
