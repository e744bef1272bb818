"""The command line: `yummy-fast serve`, `check`, `get`, `explain`, `doctor`, `compare`, `demo` and `completion`.

Reading order: `main` (from the words of the command line to the exit code), `parser` (all commands put together), then
the command in question. Each is the module of its name, with its help, its flags and what it does. They share `options`
(where the repository is, settings, and the `Config` that these come to), `help_format` (what every `--help` looks
like) and `terminal` (what is printed, and its colours). `feast_commands` refuses those of Feast; `completion_scripts`
and `demo_repository` are what `completion` and `demo` are about.

A command gathers what it was asked, has the wings below do it, and prints what they found. What is found, and in which
words, is in `diagnosis`; a module here must not know stores, rows or answers. Every start of a server imports all
commands, so what only one of them needs is imported when that one is run. Nothing below knows that there is a command
line.
"""
