"""The terminal of the demo page: a line in, an answer out."""

from dataclasses import dataclass

from balancer.demo.home import Home, HomeError
from balancer.demo.users import User

HELP = """\
write NAME TEXT   put TEXT into a file here
ls                list your files here
cat NAME          show a file
rm NAME           remove a file
whoami            show your name and host
uptime            show how long this host has been running
reconnect         disconnect all your tabs; they reconnect by themselves
help              show this list
Anything else is echoed."""

_USAGE = {"write": "write NAME TEXT", "cat": "cat NAME", "rm": "rm NAME"}


@dataclass(frozen=True)
class Shell:
    """The commands of one user on the host called ``host``."""

    host: str
    user: User
    home: Home

    def answer(self, line: str, uptime: float) -> str:
        """Run one line and return its output or error text. ``uptime`` is in seconds since the host started."""
        try:
            return self._answer(line, uptime)
        except HomeError as error:
            return str(error)

    def _answer(self, line: str, uptime: float) -> str:
        match line.split(maxsplit=2):
            case ["help"]:
                return HELP
            case ["whoami"]:
                return f"{self.user.name} on {self.host} (token digest {self.user.digest[:8]})"
            case ["uptime"]:
                return f"{self.host} has been running for {_duration(uptime)}"
            case ["ls"]:
                return "  ".join(self.home.names()) or "no files here yet; try: write notes.txt hello"
            case ["cat", name]:
                return self.home.read(name)
            case ["write", name, text]:
                self.home.write(name, text)
                return f"{name} is stored on {self.host} only"
            case ["rm", name]:
                self.home.remove(name)
                return f"{name} removed"
            case [("write" | "cat" | "rm") as command, *_]:
                return f"usage: {_USAGE[command]}"
        return line


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
