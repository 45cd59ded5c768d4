"""`balancer completion`: shell completion from the command's own parser and the running daemon.

The three scripts pass the words typed so far to the hidden verb `completion words`, so they do not change when the
command does. If it prints nothing, the shell completes file names as usual.
"""

import argparse
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from balancer.cli.client import Client, Unreachable, find_daemon
from balancer.errors import Refused

_TIMEOUT = 2.0
"""Seconds the daemon may take to list pools or backends."""
_SCRIPTS = {
    "bash": r"""_balancer() {
    local words line="${COMP_LINE:0:COMP_POINT}"
    read -ra words <<< "$line"
    [[ "$line" == *" " ]] && words+=("")
    local IFS=$'\n'
    COMPREPLY=($("${words[0]}" completion words -- "${words[@]:1}" 2>/dev/null))
    if [[ "${words[-1]}" == *[:=]* ]]; then  # bash splits words at these
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
_HELP = """Print the completion script of a shell. To install it:
  bash: balancer completion bash > ~/.local/share/bash-completion/completions/balancer
  zsh:  balancer completion zsh > "${fpath[1]}/_balancer"
  fish: balancer completion fish > ~/.config/fish/completions/balancer.fish"""


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]", root: argparse.ArgumentParser) -> None:
    """Add the verb to the command's parser ``root``."""
    own = verbs.add_parser(
        "completion",
        help="completion for bash, zsh and fish",
        description=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    ).add_subparsers(metavar="SHELL", required=True)
    for shell in _SCRIPTS:
        own.add_parser(shell, help=f"print the script for {shell}").set_defaults(run=partial(_print_script, shell))
    parser = own.add_parser("words")  # called by the scripts; without help, completion does not offer it
    parser.add_argument("words", nargs="*")
    parser.set_defaults(run=partial(_print_completions, root))


def _print_script(shell: str, _: argparse.Namespace) -> int:
    print(_SCRIPTS[shell], end="")
    return 0


def _print_completions(root: argparse.ArgumentParser, args: argparse.Namespace) -> int:
    for word in completions(root, args.words):
        print(word)
    return 0


def completions(root: argparse.ArgumentParser, words: Sequence[str]) -> list[str]:
    """Return the completions of the last of ``words``, which may be empty."""
    *done, current = words or [""]
    walk = _ParserWalk(root)
    for word in done:
        walk.take(word)
    return sorted({word for word in walk.next(current) if word.startswith(current)})


class _ParserWalk:
    """Follows a command line through the parsers word by word, as argparse does.

    argparse has no public way to do this. Its private names used here have not changed since Python 3.2.
    """

    def __init__(self, root: argparse.ArgumentParser) -> None:
        self._options: dict[str, argparse.Action] = {}
        self._positionals: list[argparse.Action] = []
        self._option_values: dict[str, str] = {}
        """Values given so far, by ``dest``."""
        self._open_option: argparse.Action | None = None
        """The option whose value comes next."""
        self._enter(root)

    def take(self, word: str) -> None:
        """Consume a complete word."""
        if self._open_option is not None:
            self._option_values[self._open_option.dest] = word
            self._open_option = None
        elif word.startswith("-") and word != "-":
            name, equals, value = word.partition("=")
            action = self._options.get(name)
            if action is not None and equals:
                self._option_values[action.dest] = value
            elif action is not None and action.nargs != 0:
                self._open_option = action
        elif self._positionals:
            action = self._positionals[0]
            if isinstance(action, argparse._SubParsersAction):
                if (parser := action.choices.get(word)) is not None:
                    self._enter(parser)
            elif action.nargs not in ("*", "+"):
                del self._positionals[0]

    def next(self, current: str) -> Iterable[str]:
        """Return every word that may come next, given the beginning ``current``."""
        if self._open_option is not None:
            return self._values(self._open_option)
        if current.startswith("-"):
            return [name for name, action in self._options.items() if action.help != argparse.SUPPRESS]
        return self._values(self._positionals[0]) if self._positionals else []

    def _enter(self, parser: argparse.ArgumentParser) -> None:
        self._options |= parser._option_string_actions
        self._positionals = [action for action in parser._actions if not action.option_strings]

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
                return _names(self._client(), "/v1/pools", "pools")
            case _:
                return []

    def _backends(self) -> list[str]:
        client = self._client()
        given = self._option_values
        pools = [given["pool"]] if "pool" in given else _names(client, "/v1/pools", "pools")
        return [name for pool in pools for name in _names(client, f"/v1/pools/{pool}/backends", "backends")]

    def _client(self) -> Client | None:
        config = self._option_values.get("config")
        try:
            client = find_daemon(
                self._option_values.get("admin"), Path(config).expanduser() if config is not None else None
            )
        except Refused:
            return None
        client.timeout = _TIMEOUT
        return client


def _names(client: Client | None, path: str, kind: str) -> list[str]:
    """The names listed there; none if the daemon does not answer, as a shell has no place for the error."""
    try:
        return [each["name"] for each in client.ask("GET", path)[kind]] if client is not None else []
    except (Refused, Unreachable):
        return []
