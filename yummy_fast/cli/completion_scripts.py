"""The scripts by which bash, zsh and fish complete the command line: what `yummy-fast completion bash` writes.

They are made from the parser of the whole command line, so that every flag is in them. They are static: a Tab starts no
Python. A flag's value is completed by what stands for it in `--help`: FILE, PATH and DIR by names of files,
{feast,strict} and true|false by these words; for anything else, nothing is offered.

    eval "$(yummy-fast completion bash)"          in ~/.bashrc
    eval "$(yummy-fast completion zsh)"           in ~/.zshrc, after compinit
    yummy-fast completion fish | source           in ~/.config/fish/config.fish

Pure: a parser in, text out.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

_OF_FILES = ("FILE", "PATH", "FILE|URL", "REQUESTS")
_HELP_CHARS = 70


class Option(NamedTuple):
    """One flag, with its letter."""

    flags: Sequence[str]
    text: str
    """What it does, in a few words."""
    takes_value: bool
    value_is_optional: bool
    choices: Sequence[str]
    """The words that it takes; empty if it takes others."""
    files: str
    """What of the file system it takes: "file", "directory" or nothing."""


class Command(NamedTuple):
    """One command, or the program itself."""

    text: str
    options: Sequence[Option]
    arguments: Sequence[str] = ()
    """The words that may follow without a flag, and ..."""
    files: str = ""
    """... what of the file system."""


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """The script for a shell. Raises KeyError for a shell that is none of the three."""
    program, commands = _read(parser)
    lines = {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell](program, commands)
    return "".join(f"{line}\n" for line in lines)


# ------------------------------------------------------------------------------------------------ what the parser knows


def _read(parser: argparse.ArgumentParser) -> tuple[Command, Mapping[str, Command]]:
    commands: dict[str, Command] = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            texts = {choice.dest: choice.help or "" for choice in action._choices_actions}
            commands = {name: _command(of, texts.get(name, "")) for name, of in action.choices.items()}
    return _command(parser, ""), commands


def _command(parser: argparse.ArgumentParser, text: str) -> Command:
    options, arguments, files = [], list[str](), ""
    for action in parser._actions:
        if action.help == argparse.SUPPRESS or isinstance(action, argparse._SubParsersAction):
            continue
        choices, of_files = _values(action)
        if not action.option_strings:
            arguments += choices
            files = files or of_files
            continue
        options.append(
            Option(
                flags=action.option_strings,
                text=_short(action.help or ""),
                takes_value=action.nargs != 0,
                value_is_optional=action.nargs == "?",
                choices=choices,
                files=of_files,
            )
        )
    return Command(_short(text), options, arguments, files)


def _values(action: argparse.Action) -> tuple[Sequence[str], str]:
    metavar = action.metavar if isinstance(action.metavar, str) else ""
    if action.choices is not None:
        return list(map(str, action.choices)), ""
    if metavar[:1] == "{":
        return metavar.strip("{}").split(","), ""
    if metavar == "true|false":
        return ["true", "false"], ""
    return [], "file" if metavar in _OF_FILES else "directory" if metavar == "DIR" else ""


def _short(text: str) -> str:
    """The first sentence of a help text, or the beginning of it, in characters that need no care in any shell."""
    first = re.split(r"[.;:] |\.$| \[", " ".join(text.split()))[0]
    plain = re.sub(r"[^\w ,/-]", "", first)
    return plain if len(plain) <= _HELP_CHARS else plain[:_HELP_CHARS].rpartition(" ")[0]


def _flags(command: Command) -> list[str]:
    return [flag for option in command.options for flag in option.flags]


# ---------------------------------------------------------------------------------------------------------------- bash


def _bash(program: Command, commands: Mapping[str, Command]) -> Iterator[str]:
    yield "_yummy_fast() {"
    yield "    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} command= index"
    yield "    COMPREPLY=()"
    # To bash, "=" is a word of its own: the words of `--compat=st` are --compat, = and st.
    yield "    if [[ $word == = ]]; then"
    yield "        word="
    yield "    elif [[ $before == = ]]; then"
    yield "        before=${COMP_WORDS[COMP_CWORD - 2]}"
    yield "    fi"
    yield "    for ((index = 1; index < COMP_CWORD; index++)); do"
    yield "        case ${COMP_WORDS[index]} in"
    yield f"            {'|'.join(commands)}) command=${{COMP_WORDS[index]}}; break ;;"
    yield "        esac"
    yield "    done"
    yield "    case $command:$before in"
    for name, command in ("", program), *commands.items():
        for option in command.options:
            if not option.takes_value:
                continue
            pattern = "|".join(f"{name}:{flag}" for flag in option.flags)
            values = _bash_values(option.choices, option.files)
            if option.value_is_optional:
                yield f"        {pattern}) [[ $word == -* ]] || {{ {values}; return; }} ;;"
            else:
                yield f"        {pattern}) {values}; return ;;"
    yield "    esac"
    yield "    case $command:$word in"
    for name, command in ("", program), *commands.items():
        words = list(commands) if not name else command.arguments
        if words or command.files:  # else flags are offered before there is a hyphen
            yield f"        {name}:-*) {_bash_values(_flags(command), '')} ;;"
            yield f"        {name}:*) {_bash_values(words, command.files)} ;;"
        else:
            yield f"        {name}:*) {_bash_values(_flags(command), '')} ;;"
    yield "    esac"
    yield "}"
    yield "complete -o filenames -F _yummy_fast yummy-fast"


def _bash_values(choices: Sequence[str], files: str) -> str:
    if choices:
        return f"COMPREPLY=($(compgen -W '{' '.join(choices)}' -- \"$word\"))"
    if files:
        return f"local IFS=$'\\n'; COMPREPLY=($(compgen {'-d' if files == 'directory' else '-f'} -- \"$word\"))"
    return ":"


# ----------------------------------------------------------------------------------------------------------------- zsh


def _zsh(program: Command, commands: Mapping[str, Command]) -> Iterator[str]:
    yield "#compdef yummy-fast"
    yield "_yummy_fast() {"
    yield "    local context state state_descr line"
    yield "    typeset -A opt_args"
    yield "    local -a commands=("
    for name, command in commands.items():
        yield f"        '{name}:{command.text}'"
    yield "    )"
    yield "    _arguments -C \\"
    for option in program.options:
        yield from (f"        {spec} \\" for spec in _zsh_specs(option))
    yield "        '1:command:->command' '*::argument:->argument' && return"
    yield "    case $state in"
    yield "        command) _describe -t commands command commands ;;"
    yield "        argument)"
    yield "            case $words[1] in"
    for name, command in commands.items():
        specs = [spec for option in command.options for spec in _zsh_specs(option)]
        if command.arguments or command.files:
            specs.append(f"'*:argument:{_zsh_action(command.arguments, command.files)}'")
        yield f"                {name})"
        yield "                    _arguments \\"
        yield from (f"                        {spec} \\" for spec in specs[:-1])
        yield f"                        {specs[-1]} ;;"
    yield "            esac ;;"
    yield "    esac"
    yield "}"
    yield "compdef _yummy_fast yummy-fast"


def _zsh_specs(option: Option) -> Iterator[str]:
    for flag in option.flags:
        value = ""
        if option.takes_value:
            colon = "::" if option.value_is_optional else ":"
            value = f"{colon}value:{_zsh_action(option.choices, option.files)}"
        yield f"'*{flag}[{option.text}]{value}'"


def _zsh_action(choices: Sequence[str], files: str) -> str:
    if choices:
        return f"({' '.join(choices)})"
    return {"file": "_files", "directory": "_files -/"}.get(files, "")


# ---------------------------------------------------------------------------------------------------------------- fish


def _fish(program: Command, commands: Mapping[str, Command]) -> Iterator[str]:
    yield "complete -c yummy-fast -f"
    no_command = f"not __fish_seen_subcommand_from {' '.join(commands)}"
    for name, command in commands.items():
        yield f"complete -c yummy-fast -n '{no_command}' -a {name} -d '{command.text}'"
    yield from _fish_options(program, no_command)
    for name, command in commands.items():
        condition = f"__fish_seen_subcommand_from {name}"
        yield from _fish_options(command, condition)
        if command.arguments:
            yield f"complete -c yummy-fast -n '{condition}' -a '{' '.join(command.arguments)}'"
        if command.files:
            yield f"complete -c yummy-fast -n '{condition}' -F"


def _fish_options(command: Command, condition: str) -> Iterator[str]:
    for option in command.options:
        names = " ".join(f"-l {flag[2:]}" if flag[:2] == "--" else f"-s {flag[1:]}" for flag in option.flags)
        values = f" -a '{' '.join(option.choices)}'" if option.choices else ""
        if option.files == "directory":
            values = " -a '(__fish_complete_directories)'"
        if option.takes_value and not option.value_is_optional:  # fish completes an optional one after "=" only
            values = " -r -F" if option.files == "file" else f" -x{values}"
        yield f"complete -c yummy-fast -n '{condition}' {names}{values} -d '{option.text}'"
