"""How hypothesis looks for examples: always the same ones, so that a failure is the change's and not the day's.

HYPOTHESIS_PROFILE=explore looks for new ones, and more of them.
"""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile("fixed", derandomize=True, deadline=None, database=None)
settings.register_profile("explore", deadline=None, max_examples=2_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))
