"""`yummy-fast`, and `python -m yummy_fast`: where the program begins.

Modules are imported for a tenth of a second, or many on a slow disk. Ctrl-C ends that at once and without a word:
Python's own KeyboardInterrupt would show a traceback of whatever was being imported, and extension modules have been
seen to crash by it. A standard stream that the caller has closed is opened, on nothing: or a socket would get its
number, and libuv ends a process that closes such a socket.
"""

import os
import signal


def main() -> None:
    """The entry point of the `yummy-fast` command."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # it gets the lowest number that is free
    ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # and not ignored, as by nohup
    if ours:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from yummy_fast import cli

    if ours:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    cli.main()


if __name__ == "__main__":
    main()
