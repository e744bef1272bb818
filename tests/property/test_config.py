"""Variables in feature_store.yaml are expanded as os.path.expandvars does, which is what Feast calls.

All but the defaults, `${NAME:-default}`, which expandvars does not know: tests/config/test_variables.py.
"""

from __future__ import annotations

import base64
import os
import re
from unittest import mock

import yaml
from hypothesis import assume, given
from hypothesis import strategies as st

from yummy_fast.errors import ConfigError
from yummy_fast.sources.yaml_text import load_config

names = st.sampled_from(["A", "AB", "a", "_", "A1", "B"])
texts = st.lists(
    st.one_of(st.sampled_from(["$", "{", "}", "${", "$A", "${A}", "${AB}", "$AB", "${B", "é", ":", "-"]), names),
    max_size=10,
).map("".join)


@given(texts, st.dictionaries(names, texts, max_size=3))
def test_variables(text: str, environ: dict[str, str]) -> None:
    assume(not re.search(r"\{\w+:?-", text))
    whole = f"project: p\nregistry: r.db\nonline_store: {{type: redis, connection_string: 'x{text}'}}\n"
    with mock.patch.dict(os.environ, environ, clear=True):  # expandvars knows no other environment
        expected = yaml.safe_load(os.path.expandvars(whole))
    encoded = base64.b64encode(whole.encode()).decode()
    try:
        config = load_config(environ={**environ, "FEATURE_STORE_YAML_BASE64": encoded})
    except ConfigError as error:  # expandvars has left a variable as it was
        variable = str(error).split(": ")[2]
        assert variable.startswith("$")
        assert variable in text
        assert variable in expected["online_store"]["connection_string"]
        assert variable.strip("${}") not in environ
    else:
        assert config.repository.online_store == expected["online_store"]
