"""`yummy-fast completion`: a script that has a shell complete this command line.

`completion_scripts` writes it, from the parser of the whole program. `parser` puts this command into that parser, so it
hands over the parser itself, and nothing here has to import what is above it.
"""

from __future__ import annotations

import argparse
from functools import partial

from yummy_fast.cli.help_format import Commands, Parser
from yummy_fast.cli.terminal import write_script

_DESCRIPTION = """\
Write a script that has a shell complete commands, flags and their values. To have it always:

bash, in ~/.bashrc: eval "$(yummy-fast completion bash)"

zsh, in ~/.zshrc after compinit: eval "$(yummy-fast completion zsh)"

fish, in ~/.config/fish/config.fish: yummy-fast completion fish | source"""


def add(commands: Commands, program: Parser) -> None:
    """`program`: the parser that scripts are made from. All commands are in it by the time that one is asked for."""
    completion = commands.add_parser(
        "completion",
        help="Write a script that completes this command line.",
        usage="yummy-fast completion {bash,zsh,fish}",
        description=_DESCRIPTION,
        help_flags=("-h", "--help"),
    )
    completion.add_argument("shell", choices=("bash", "zsh", "fish"), help="The shell that is to read it.")
    completion.set_defaults(command=partial(run, program))


def run(program: Parser, arguments: argparse.Namespace) -> int:
    from yummy_fast.cli.completion_scripts import script

    write_script(script(program, arguments.shell).rstrip("\n"))
    return 0
