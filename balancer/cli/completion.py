"""`balancer completion`: what shells offer at the Tab key, from the command's own parser and the running daemon.

The three scripts ask the command itself, with the words typed so far, so that they need not change when it does. Where
it offers nothing, shells offer files, as they always do.
"""

import argparse
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from balancer.cli.client import Client, Unreachable, reach
from balancer.errors import Refused

_PATIENCE = 2.0
"""Seconds for the daemon to say what backends there are."""
_SCRIPTS = {
    "bash": r"""_balancer() {
    local words line="${COMP_LINE:0:COMP_POINT}"
    read -ra words <<< "$line"
    [[ "$line" == *" " ]] && words+=("")
    local IFS=$'\n'
    COMPREPLY=($("${words[0]}" completion words -- "${words[@]:1}" 2>/dev/null))
    if [[ "${words[-1]}" == *[:=]* ]]; then  # what bash takes for words of their own
        local before="${words[-1]%"${words[-1]##*[:=]}"}"
        COMPREPLY=("${COMPREPLY[@]#"$before"}")
    fi
}
complete -o default -F _balancer balancer
""",
    "zsh": r"""#compdef balancer
_balancer() {
    local -a found
    found=("${(@f)$("${words[1]}" completion words -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    if [[ -n "${found[1]}" ]]; then compadd -- "${found[@]}"; else _files; fi
}
if [[ "$funcstack[1]" == _balancer ]]; then _balancer "$@"; else compdef _balancer balancer; fi
""",
    "fish": r"""function __balancer_offers
    set -l words (commandline -opc)
    set -g __balancer_found ($words[1] completion words -- $words[2..] (commandline -ct) 2>/dev/null)
    test -n "$__balancer_found"
end
complete -c balancer -n __balancer_offers -f -a '$__balancer_found'
""",
}
_HELP = """The script for a shell. To have it in every new one:
  bash: balancer completion bash > ~/.local/share/bash-completion/completions/balancer
  zsh:  balancer completion zsh > "${fpath[1]}/_balancer"
  fish: balancer completion fish > ~/.config/fish/completions/balancer.fish"""


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]", root: argparse.ArgumentParser) -> None:
    """Add the verb to the command's parser, which is ``root``."""
    own = verbs.add_parser(
        "completion",
        help="completion for bash, zsh and fish",
        description=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    ).add_subparsers(metavar="SHELL", required=True)
    for shell in _SCRIPTS:
        own.add_parser(shell, help=f"the script for {shell}").set_defaults(run=partial(_script, shell))
    parser = own.add_parser("words")  # for the scripts: no help, so that nobody is offered it
    parser.add_argument("words", nargs="*")
    parser.set_defaults(run=partial(_words, root))


def _script(shell: str, _: argparse.Namespace) -> int:
    print(_SCRIPTS[shell], end="")
    return 0


def _words(root: argparse.ArgumentParser, args: argparse.Namespace) -> int:
    for word in offers(root, args.words):
        print(word)
    return 0


def offers(root: argparse.ArgumentParser, words: Sequence[str]) -> list[str]:
    """What the last of ``words`` may become; it may be empty."""
    *done, current = words or [""]
    walk = _Walk(root)
    for word in done:
        walk.take(word)
    return sorted({word for word in walk.next(current) if word.startswith(current)})


class _Walk:
    """From word to word through the parsers, as argparse goes. It has no public way to do this; these names are old."""

    def __init__(self, root: argparse.ArgumentParser) -> None:
        self._options: dict[str, argparse.Action] = {}
        self._places: list[argparse.Action] = []
        self._said: dict[str, str] = {}
        """Values of options so far, by the name of their attribute."""
        self._wanted: argparse.Action | None = None
        """The option whose value comes next."""
        self._enter(root)

    def take(self, word: str) -> None:
        """Go on by a word that is complete."""
        if self._wanted is not None:
            self._said[self._wanted.dest] = word
            self._wanted = None
        elif word.startswith("-") and word != "-":
            name, equals, value = word.partition("=")
            action = self._options.get(name)
            if action is not None and equals:
                self._said[action.dest] = value
            elif action is not None and action.nargs != 0:
                self._wanted = action
        elif self._places:
            action = self._places[0]
            if isinstance(action, argparse._SubParsersAction):
                if (parser := action.choices.get(word)) is not None:
                    self._enter(parser)
            elif action.nargs not in ("*", "+"):
                del self._places[0]

    def next(self, current: str) -> Iterable[str]:
        """All that may come now."""
        if self._wanted is not None:
            return self._values(self._wanted)
        if current.startswith("-"):
            return [name for name, action in self._options.items() if action.help != argparse.SUPPRESS]
        return self._values(self._places[0]) if self._places else []

    def _enter(self, parser: argparse.ArgumentParser) -> None:
        self._options |= parser._option_string_actions
        self._places = [action for action in parser._actions if not action.option_strings]

    def _values(self, action: argparse.Action) -> Iterable[str]:
        if isinstance(action, argparse._SubParsersAction):
            return [each.dest for each in action._choices_actions]  # those with a help text
        if action.choices is not None:
            return [str(each) for each in action.choices]
        match action.metavar:
            case "BACKEND":
                return self._backends()
            case "BACKEND=W":
                return [f"{name}=" for name in self._backends()]
            case "POOL":
                return _ask(self._client(), "/v1/pools", "pools")
            case _:
                return []

    def _backends(self) -> list[str]:
        client = self._client()
        pools = [self._said["pool"]] if "pool" in self._said else _ask(client, "/v1/pools", "pools")
        return [name for pool in pools for name in _ask(client, f"/v1/pools/{pool}/backends", "backends")]

    def _client(self) -> Client | None:
        config = self._said.get("config")
        try:
            client = reach(self._said.get("admin"), Path(config).expanduser() if config is not None else None)
        except Refused:
            return None
        client.patience = _PATIENCE
        return client


def _ask(client: Client | None, path: str, kind: str) -> list[str]:
    """The names of what is listed there; none if there is no daemon, for Tab is no time for errors."""
    try:
        return [each["name"] for each in client.ask("GET", path)[kind]] if client is not None else []
    except (Refused, Unreachable):
        return []
