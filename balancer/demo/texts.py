"""The demo's longer texts."""

from collections.abc import Mapping

from balancer.demo.operate import shown
from balancer.demo.setup import DemoSetup
from balancer.demo.users import NAMES, token_of

COMMANDS = """\
  stop ide-02         stop a host: its users reconnect to their next host on the ring
  start ide-02        start it again: its users return when they reconnect
  drain ide-02        send it no new users; those with open tabs stay
  ready ide-02        send it new users again
  weight ide-02 0.5   give it half as many users as the others; 1 is back to normal
  pin alice ide-02    send a user to this host, whatever the ring says
  unpin alice         let the ring decide again
  users               list users, their hosts and URLs
  help                show this list
  quit                end the demo, as does Ctrl-C"""
VERBS = tuple(line.split()[0] for line in COMMANDS.splitlines())

Places = Mapping[str, str | None]
"""The host that the balancer sends each user to, None if there is none."""


def welcome(setup: DemoSetup, places: Places, interactive: bool) -> str:
    """Return the greeting: addresses, users' URLs, and things to try."""
    hosts = "\n".join(f"  {name:10} http://{address}" for name, address in setup.hosts.items())
    token = token_of(NAMES[0])
    return f"""
Three IDE hosts and a balancer that keeps every user on one of them are running:

  balancer   {_origin(setup)}
{hosts}

Open some of these users in a browser. It warns about the certificate, which is self-signed: continue to
localhost anyway.

{users(setup, places)}

Try this:
  - Open a user twice. Both tabs reach the same host and see each other and the same files.
  - Write a file in one tab: write notes.txt hello
  - {_outage(interactive)}
  - Send a request from a shell, without a warning:
      curl --cacert {setup.certificate.cert} '{_origin(setup)}/whoami?token={token}'
  - Ask the balancer why a user is on a host:
      {shown(["ring", "explain", token], setup.config)}

{COMMANDS if interactive else "Ctrl-C ends everything."}
"""


def users(setup: DemoSetup, places: Places) -> str:
    """Return a line for each user: the host, and the URL to open."""
    return "\n".join(
        f"  {name:7} on {host or 'no host'}   {_origin(setup)}/?token={token_of(name)}" for name, host in places.items()
    )


def usage(verb: str) -> str:
    """Return the line of ``COMMANDS`` about ``verb``, one of ``VERBS``."""
    return COMMANDS.splitlines()[VERBS.index(verb)]


def stopped(host: str, before: Places, after: Places) -> str:
    """Return the text about a stopped host: where its users go."""
    moves = _moves(before, after)
    return f"{host} has stopped. " + (f"Its users move: {moves}." if moves else "It had no users.")


def operated(command: str, answer: str, before: Places, after: Places) -> str:
    """Return the text about a command of `balancer`: what it said, and who is sent elsewhere."""
    moves = _moves(before, after)
    return f"$ {command}\n{answer}\n" + (f"Users who are sent elsewhere: {moves}." if moves else "No user moves.")


def started(host: str, own: list[str]) -> str:
    """Return the text about a restarted host whose users are ``own``."""
    return f"""\
{host} is running again. Its users: {_listed(own)}. Those with open tabs stay where they are, because all tabs of a user
stay on one host. Press Reconnect in one of their tabs: all of them reconnect to {host}, where the files still are."""


def _moves(before: Places, after: Places) -> str:
    return _listed([f"{name} ({after[name] or 'no host'})" for name in after if before[name] != after[name]])


def _listed(parts: list[str]) -> str:
    """``a, b and c``"""
    return " and ".join(filter(None, [", ".join(parts[:-1]), *parts[-1:]]))


def _origin(setup: DemoSetup) -> str:
    return f"https://localhost:{setup.port}"


def _outage(interactive: bool) -> str:
    if interactive:
        return (
            "Type below: stop ide-02. Its users' tabs move to other hosts; their files stay behind.\n"
            "    Then: start ide-02, press Reconnect in a page, and its user is back with the files."
        )
    return "Run the demo in a terminal to stop and start hosts, and watch their users move."
