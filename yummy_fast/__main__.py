"""`yummy-fast`, and `python -m yummy_fast`: where the program begins.

Modules are imported for a tenth of a second, or many on a slow disk. Ctrl-C ends that at once and without a word:
Python's own KeyboardInterrupt would show a traceback of whatever was being imported, and extension modules have been
seen to crash by it.
"""

import signal


def main() -> None:
    """The entry point of the `yummy-fast` command."""
    ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # and not ignored, as by nohup
    if ours:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from yummy_fast import cli

    if ours:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    cli.main()


if __name__ == "__main__":
    main()
