"""The command line: `yummy-fast serve`, `check`, `get`, `explain`, `doctor`, `compare`, `demo` and `completion`.

Reading order: `main` (from the words of the command line to the exit code), `parser` (all commands put together), then
one module for each command, called as the command is: its help, its options, and what it does. What they have in
common: `options` (where the repository is, and flags of settings), `help_format` (what every `--help` looks like),
`terminal` (what a command prints, and its colours). `feast_commands` are those of Feast that are refused.
`completion_scripts` and `demo_repository` are what two of the commands are about.

A command gathers what it was asked, lets the wings below do it, and prints what they found: what is found, and how it
reads, is in `diagnosis`. A module here must not import at its top what only its own command needs, because every start
of a server imports all of these modules. Nothing below may know that there is a command line.
"""
