"""The limit on open files (`ulimit -n`): as high as it can be, and no more connections than fit under it.

Over the limit nothing is refused in an orderly way: connections wait in the kernel's queue, and the online store, the
registry and the log cannot be opened anew. A shell's soft limit is 1,024 for the sake of programs that use select(2);
this one does not, so it takes the hard limit, as Go's runtime and nginx (worker_rlimit_nofile) do. Children inherit it.
"""

from __future__ import annotations

import resource
import sys
from contextlib import suppress

RESERVED = 64
"""Descriptors of a process besides its connections: 18 when it is idle, and the store's, the registry's, a scrape's."""


def raise_soft_limit() -> int:
    """Let this process have as many open files as it may give itself. Returns how many."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # macOS refuses "unlimited", which its hard limit is
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


def needed(connections: int, *, tls: bool, others: int = 0) -> int:
    """How many descriptors a process with `connections` may come to need, `others` among them for other listeners.

    As many again may wait to ask, and get a 503, or be on their way out with it; and with TLS a quarter may be in their
    handshakes besides.
    """
    return RESERVED + others + 2 * connections + (-(-connections // 4) if tls else 0)


def connections_that_fit(descriptors: int, *, tls: bool, others: int = 0) -> int:
    """The most connections for which `needed` is no more than `descriptors`; one at the least."""
    room = descriptors - RESERVED - others
    return max(room * 4 // 9 if tls else room // 2, 1)
