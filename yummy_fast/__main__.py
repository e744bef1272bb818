"""`yummy-fast`, and `python -m yummy_fast`: where the program begins.

Importing the modules takes a tenth of a second, or seconds on a slow disk. Ctrl-C ends the process at once meanwhile,
and prints nothing: Python's own KeyboardInterrupt would show a traceback of whatever was being imported, and has been
seen to crash extension modules. A standard stream that the caller has closed is opened on /dev/null. Otherwise a socket
would get its descriptor's number, and libuv aborts a process that closes such a socket.
"""

import os
import signal
import sys


def main() -> None:
    """The entry point of the `yummy-fast` command."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # which takes the lowest free number
    # Python has None for a stream that was closed when it started.
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115  # it stays open
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115
    handled = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # and not ignored, as by nohup
    if handled:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from yummy_fast.cli.main import main as run

    if handled:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    run()


if __name__ == "__main__":
    main()
