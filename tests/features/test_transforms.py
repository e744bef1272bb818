"""On-demand views: which functions are loaded, what they see, and what becomes of what they return.

Three parts. Loading: each message that a view cannot be served for, and pickles that other versions of Python wrote
(PICKLES, made by those versions). Computing: what a function is given and how its results are answered; expected
columns of frames were made by Feast 0.67.0 itself from the very same frames. Serving: a server process with functions
that wait, raise, or do not load.

Functions defined inside a test are pickled by value, as `feast apply` does it.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import dis
import functools
import logging
import math
import opcode
import os
import re
import sys
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import dill
import pandas
import pytest

from tests.harness import Process, Server, eventually, request
from tests.registries import Item, entity, fields, parsed, projection, service, view
from yummy_fast.errors import LimitError, RequestError, ShutdownRequested, TransformError
from yummy_fast.feast_format._proto import registry_pb2 as messages
from yummy_fast.feast_format._proto import value_pb2 as values
from yummy_fast.feast_format._proto.value_pb2 import Value
from yummy_fast.feast_format.registry import OnDemandFeatureView
from yummy_fast.feast_format.values import ValueType
from yummy_fast.features.binding import Bound
from yummy_fast.features.catalog import Catalog
from yummy_fast.features.plan import Plan, Rows
from yummy_fast.features.statuses import StatusPolicy
from yummy_fast.features.transforms import (
    MAX_WAITING,
    THREADS,
    Computed,
    Transforms,
    compute,
    compute_written,
    is_foreign,
    load,
)
from yummy_fast.features.vectors import Layout, Tails
from yummy_fast.features.write_query import WriteQuery

INT64, DOUBLE, STRING = ValueType.INT64, ValueType.DOUBLE, ValueType.STRING

# ------------------------------------------------------------------------------------- pickles of other Pythons' making

SOURCE = """
import functools

def rows(inputs):
    return {"out": [value + 1 for value in inputs["trips"]]}

def frame(inputs):
    inputs["out"] = inputs["trips"] * 2
    return inputs[["out"]]

def attribute(inputs):
    return inputs.out

def logged(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)
    return wrapper

@logged
def decorated(inputs):
    return {"out": [value + 1 for value in inputs["trips"]]}

class Callable:
    def __call__(self, inputs):
        return {"out": [value + 1 for value in inputs["trips"]]}

instance = Callable()
partial = functools.partial(rows)
"""
"""Executed in the `__main__` of each Python; then base64(dill.dumps(each, recurse=True)), dill 0.4.1, 2026-11-23.

The bytecode of `wrapper` is the same in 3.11 and 3.12: what it wraps has to be looked at as well. `attribute` differs
in the number of cache entries only.
"""

PICKLES = {
    "3.9": {
        "rows": (
            "gASVRAEAAAAAAACMCmRpbGwuX2RpbGyUjBBfY3JlYXRlX2Z1bmN0aW9ulJOUKGgAjAxfY3JlYXRlX2NvZGWUk5QoSwFLAEsASwFLBEtD"
            "QxZkAWQCZAOEAHwAZAQZAEQAgwFpAVMAlChOjANvdXSUaAQoSwFLAEsASwJLBEtTQxRnAHwAXQx9AXwBZAAXAJECcQRTAJRLAYWUKYwC"
            "LjCUjAV2YWx1ZZSGlIwGdWRmLnB5lIwKPGxpc3Rjb21wPpRLBUMAlCkpdJRSlIwYcm93cy48bG9jYWxzPi48bGlzdGNvbXA+lIwFdHJp"
            "cHOUdJQpjAZpbnB1dHOUhZRoDIwEcm93c5RLBEMCAAGUKSl0lFKUfZSMCF9fbmFtZV9flIwIX19tYWluX1+Uc2gWTk50lFKUfZR9lIwP"
            "X19hbm5vdGF0aW9uc19flH2Uc4aUYi4="
        ),
        "frame": (
            "gASV3gAAAAAAAACMCmRpbGwuX2RpbGyUjBBfY3JlYXRlX2Z1bmN0aW9ulJOUKGgAjAxfY3JlYXRlX2NvZGWUk5QoSwFLAEsASwFLA0tD"
            "Qxp8AGQBGQBkAhQAfABkAzwAfABkA2cBGQBTAJQoTowFdHJpcHOUSwKMA291dJR0lCmMBmlucHV0c5SFlIwGdWRmLnB5lIwFZnJhbWWU"
            "SwdDBAABEAGUKSl0lFKUfZSMCF9fbmFtZV9flIwIX19tYWluX1+Uc2gMTk50lFKUfZR9lIwPX19hbm5vdGF0aW9uc19flH2Uc4aUYi4="
        ),
        "attribute": (
            "gASVwgAAAAAAAACMCmRpbGwuX2RpbGyUjBBfY3JlYXRlX2Z1bmN0aW9ulJOUKGgAjAxfY3JlYXRlX2NvZGWUk5QoSwFLAEsASwFLAUtD"
            "QwZ8AGoAUwCUToWUjANvdXSUhZSMBmlucHV0c5SFlIwGdWRmLnB5lIwJYXR0cmlidXRllEsLQwIAAZQpKXSUUpR9lIwIX19uYW1lX1+U"
            "jAhfX21haW5fX5RzaAxOTnSUUpR9lH2UjA9fX2Fubm90YXRpb25zX1+UfZRzhpRiLg=="
        ),
        "decorated": (
            "gASVTAIAAAAAAACMCmRpbGwuX2RpbGyUjBBfY3JlYXRlX2Z1bmN0aW9ulJOUKGgAjAxfY3JlYXRlX2NvZGWUk5QoSwBLAEsASwJLBEsf"
            "Qw6IAHwAaQB8AaQBjgFTAJROhZQpjARhcmdzlIwGa3dhcmdzlIaUjAZ1ZGYucHmUjAd3cmFwcGVylEsPQwIAApSMCGZ1bmN0aW9ulIWU"
            "KXSUUpR9lIwIX19uYW1lX1+UjAhfX21haW5fX5RzjAlkZWNvcmF0ZWSUTmgAjAxfY3JlYXRlX2NlbGyUk5ROhZRSlIWUdJRSlH2UjAtf"
            "X3dyYXBwZWRfX5RoAihoBChLAUsASwBLAUsES0NDFmQBZAJkA4QAfABkBBkARACDAWkBUwCUKE6MA291dJRoBChLAUsASwBLAksES1ND"
            "FGcAfABdDH0BfAFkABcAkQJxBFMAlEsBhZQpjAIuMJSMBXZhbHVllIaUaAqMCjxsaXN0Y29tcD6USxZDAJQpKXSUUpSMHWRlY29yYXRl"
            "ZC48bG9jYWxzPi48bGlzdGNvbXA+lIwFdHJpcHOUdJQpjAZpbnB1dHOUhZRoCmgUSxRDAgAClCkpdJRSlH2UaBJoE3NoFE5OdJRSlH2U"
            "fZSMD19fYW5ub3RhdGlvbnNfX5R9lHOGlGJzfZRoNmg3c4aUYowIYnVpbHRpbnOUjAdnZXRhdHRylJOUjARkaWxslIwFX2RpbGyUk5SM"
            "CF9zZXRhdHRylGg7jAdzZXRhdHRylJOUh5RSlGgYjA1jZWxsX2NvbnRlbnRzlGgzh5RSMC4="
        ),
        "instance": (
            "gASVJgIAAAAAAACMCmRpbGwuX2RpbGyUjAxfY3JlYXRlX3R5cGWUk5QoaACMCl9sb2FkX3R5cGWUk5SMBHR5cGWUhZRSlIwIQ2FsbGFi"
            "bGWUaASMBm9iamVjdJSFlFKUhZR9lCiMCl9fbW9kdWxlX1+UjAhfX21haW5fX5SMCF9fY2FsbF9flGgAjBBfY3JlYXRlX2Z1bmN0aW9u"
            "lJOUKGgAjAxfY3JlYXRlX2NvZGWUk5QoSwJLAEsASwJLBEtDQxZkAWQCZAOEAHwBZAQZAEQAgwFpAVMAlChOjANvdXSUaBQoSwFLAEsA"
            "SwJLBEtTQxRnAHwAXQx9AXwBZAAXAJECcQRTAJRLAYWUKYwCLjCUjAV2YWx1ZZSGlIwGdWRmLnB5lIwKPGxpc3Rjb21wPpRLGkMAlCkp"
            "dJRSlIwlQ2FsbGFibGUuX19jYWxsX18uPGxvY2Fscz4uPGxpc3Rjb21wPpSMBXRyaXBzlHSUKYwEc2VsZpSMBmlucHV0c5SGlGgcaBBL"
            "GUMCAAGUKSl0lFKUfZSMCF9fbmFtZV9flGgPc2gQTk50lFKUfZR9lCiMD19fYW5ub3RhdGlvbnNfX5R9lIwMX19xdWFsbmFtZV9flIwR"
            "Q2FsbGFibGUuX19jYWxsX1+UdYaUYowHX19kb2NfX5ROjA1fX3Nsb3RuYW1lc19flF2UdXSUUpSMCGJ1aWx0aW5zlIwHc2V0YXR0cpST"
            "lGg5aDJoCIeUUjApgZQu"
        ),
        "partial": (
            "gASVdQEAAAAAAACMCmRpbGwuX2RpbGyUjApfbG9hZF90eXBllJOUjAtQYXJ0aWFsVHlwZZSFlFKUaACMEF9jcmVhdGVfZnVuY3Rpb26U"
            "k5QoaACMDF9jcmVhdGVfY29kZZSTlChLAUsASwBLAUsES0NDFmQBZAJkA4QAfABkBBkARACDAWkBUwCUKE6MA291dJRoCShLAUsASwBL"
            "AksES1NDFGcAfABdDH0BfAFkABcAkQJxBFMAlEsBhZQpjAIuMJSMBXZhbHVllIaUjAZ1ZGYucHmUjAo8bGlzdGNvbXA+lEsFQwCUKSl0"
            "lFKUjBhyb3dzLjxsb2NhbHM+LjxsaXN0Y29tcD6UjAV0cmlwc5R0lCmMBmlucHV0c5SFlGgRjARyb3dzlEsEQwIAAZQpKXSUUpR9lIwI"
            "X19uYW1lX1+UjAhfX21haW5fX5RzaBtOTnSUUpR9lH2UjA9fX2Fubm90YXRpb25zX1+UfZRzhpRihZRSlChoIyl9lE50lGIu"
        ),
    },
    "3.11": {
        "rows": (
            "gASVpAEAAAAAAACMCmRpbGwuX2RpbGyUjBBfY3JlYXRlX2Z1bmN0aW9ulJOUKGgAjAxfY3JlYXRlX2NvZGWUk5QoQwICAZRLAUsASwBL"
            "AUsESwNDKpcAZAFkAoQAfABkAxkAAAAAAAAAAABEAKYAAACrAAAAAAAAAAAAaQFTAJQoTowDb3V0lGgEKEMAlEsBSwBLAEsCSwRLE0MY"
            "lwBnAHwAXQd9AXwBZAB6AAAAkQKMCFMAlEsBhZQpjAIuMJSMBXZhbHVllIaUjAZ1ZGYucHmUjAo8bGlzdGNvbXA+lIwYcm93cy48bG9j"
            "YWxzPi48bGlzdGNvbXA+lEsFQxyAANATO9ATO9ATO6AlkEWYQZFJ0BM70BM70BM7lGgIKSl0lFKUjAV0cmlwc5R0lCmMBmlucHV0c5SF"
            "lGgOjARyb3dzlGgYSwRDIIAA2AwR0BM70BM7qDawJ6w/0BM70RM71BM70As80AQ8lGgIKSl0lFKUfZSMCF9fbmFtZV9flIwIX19tYWlu"
            "X1+Uc2gYTk50lFKUfZR9lIwPX19hbm5vdGF0aW9uc19flH2Uc4aUYi4="
        ),
        "frame": (
            "gASVHAEAAAAAAACMCmRpbGwuX2RpbGyUjBBfY3JlYXRlX2Z1bmN0aW9ulJOUKGgAjAxfY3JlYXRlX2NvZGWUk5QoQwQCARwBlEsBSwBL"
            "AEsBSwNLA0MwlwB8AGQBGQAAAAAAAAAAAGQCegUAAHwAZAM8AAAAfABkA2cBGQAAAAAAAAAAAFMAlChOjAV0cmlwc5RLAowDb3V0lHSU"
            "KYwGaW5wdXRzlIWUjAZ1ZGYucHmUjAVmcmFtZZRoDUsHQyCAANgUGpg3lE+gYdEUJ4BGiDWBTdgLEZA1kCeMP9AEGpRDAJQpKXSUUpR9"
            "lIwIX19uYW1lX1+UjAhfX21haW5fX5RzaA1OTnSUUpR9lH2UjA9fX2Fubm90YXRpb25zX1+UfZRzhpRiLg=="
        ),
        "attribute": (
            "gASV3gAAAAAAAACMCmRpbGwuX2RpbGyUjBBfY3JlYXRlX2Z1bmN0aW9ulJOUKGgAjAxfY3JlYXRlX2NvZGWUk5QoQwICAZRLAUsASwBL"
            "AUsBSwNDEJcAfABqAAAAAAAAAAAAUwCUToWUjANvdXSUhZSMBmlucHV0c5SFlIwGdWRmLnB5lIwJYXR0cmlidXRllGgNSwtDCoAA2AsR"
            "jDrQBBWUQwCUKSl0lFKUfZSMCF9fbmFtZV9flIwIX19tYWluX1+Uc2gNTk50lFKUfZR9lIwPX19hbm5vdGF0aW9uc19flH2Uc4aUYi4="
        ),
        "decorated": (
            "gASV6QIAAAAAAACMCmRpbGwuX2RpbGyUjBBfY3JlYXRlX2Z1bmN0aW9ulJOUKGgAjAxfY3JlYXRlX2NvZGWUk5QoQwIEApRLAEsASwBL"
            "AksFSx9DFJUBlwACAIkCfABpAHwBpAGOAVMAlE6FlCmMBGFyZ3OUjAZrd2FyZ3OUhpSMBnVkZi5weZSMB3dyYXBwZXKUjBdsb2dnZWQu"
            "PGxvY2Fscz4ud3JhcHBlcpRLD0MY+IAA4A8XiHiYFNAPKKAW0A8o0A8o0AgolEMAlIwIZnVuY3Rpb26UhZQpdJRSlH2UjAhfX25hbWVf"
            "X5SMCF9fbWFpbl9flHOMCWRlY29yYXRlZJROaACMDF9jcmVhdGVfY2VsbJSTlE6FlFKUhZR0lFKUfZSMC19fd3JhcHBlZF9flGgCKGgE"
            "KEMCAgKUSwFLAEsASwFLBEsDQyqXAGQBZAKEAHwAZAMZAAAAAAAAAAAARACmAAAAqwAAAAAAAAAAAGkBUwCUKE6MA291dJRoBChoD0sB"
            "SwBLAEsCSwRLE0MYlwBnAHwAXQd9AXwBZAB6AAAAkQKMCFMAlEsBhZQpjAIuMJSMBXZhbHVllIaUaAuMCjxsaXN0Y29tcD6UjB1kZWNv"
            "cmF0ZWQuPGxvY2Fscz4uPGxpc3Rjb21wPpRLFkMcgADQEzvQEzvQEzugJZBFmEGRSdATO9ATO9ATO5RoDykpdJRSlIwFdHJpcHOUdJQp"
            "jAZpbnB1dHOUhZRoC2gXaBdLFEMggADgDBHQEzvQEzuoNrAnrD/QEzvREzvUEzvQCzzQBDyUaA8pKXSUUpR9lGgVaBZzaBdOTnSUUpR9"
            "lH2UjA9fX2Fubm90YXRpb25zX1+UfZRzhpRic32UaDpoO3OGlGKMCGJ1aWx0aW5zlIwHZ2V0YXR0cpSTlIwEZGlsbJSMBV9kaWxslJOU"
            "jAhfc2V0YXR0cpRoP4wHc2V0YXR0cpSTlIeUUpRoG4wNY2VsbF9jb250ZW50c5RoN4eUUjAu"
        ),
        "instance": (
            "gASVhgIAAAAAAACMCmRpbGwuX2RpbGyUjAxfY3JlYXRlX3R5cGWUk5QoaACMCl9sb2FkX3R5cGWUk5SMBHR5cGWUhZRSlIwIQ2FsbGFi"
            "bGWUaASMBm9iamVjdJSFlFKUhZR9lCiMCl9fbW9kdWxlX1+UjAhfX21haW5fX5SMCF9fY2FsbF9flGgAjBBfY3JlYXRlX2Z1bmN0aW9u"
            "lJOUKGgAjAxfY3JlYXRlX2NvZGWUk5QoQwICAZRLAksASwBLAksESwNDKpcAZAFkAoQAfAFkAxkAAAAAAAAAAABEAKYAAACrAAAAAAAA"
            "AAAAaQFTAJQoTowDb3V0lGgUKEMAlEsBSwBLAEsCSwRLE0MYlwBnAHwAXQd9AXwBZAB6AAAAkQKMCFMAlEsBhZQpjAIuMJSMBXZhbHVl"
            "lIaUjAZ1ZGYucHmUjAo8bGlzdGNvbXA+lIwlQ2FsbGFibGUuX19jYWxsX18uPGxvY2Fscz4uPGxpc3Rjb21wPpRLGkMcgADQFz/QFz/Q"
            "Fz+gZZgFoAGZCdAXP9AXP9AXP5RoGCkpdJRSlIwFdHJpcHOUdJQpjARzZWxmlIwGaW5wdXRzlIaUaB5oEIwRQ2FsbGFibGUuX19jYWxs"
            "X1+USxlDIIAA2BAV0Bc/0Bc/qHawZ6x/0Bc/0Rc/1Bc/0A9A0AhAlGgYKSl0lFKUfZSMCF9fbmFtZV9flGgPc2gQTk50lFKUfZR9lCiM"
            "D19fYW5ub3RhdGlvbnNfX5R9lIwMX19xdWFsbmFtZV9flGgpdYaUYowHX19kb2NfX5ROjA1fX3Nsb3RuYW1lc19flF2UdXSUUpSMCGJ1"
            "aWx0aW5zlIwHc2V0YXR0cpSTlGg7aDVoCIeUUjApgZQu"
        ),
        "partial": (
            "gASV1QEAAAAAAACMCmRpbGwuX2RpbGyUjApfbG9hZF90eXBllJOUjAtQYXJ0aWFsVHlwZZSFlFKUaACMEF9jcmVhdGVfZnVuY3Rpb26U"
            "k5QoaACMDF9jcmVhdGVfY29kZZSTlChDAgIBlEsBSwBLAEsBSwRLA0MqlwBkAWQChAB8AGQDGQAAAAAAAAAAAEQApgAAAKsAAAAAAAAA"
            "AABpAVMAlChOjANvdXSUaAkoQwCUSwFLAEsASwJLBEsTQxiXAGcAfABdB30BfAFkAHoAAACRAowIUwCUSwGFlCmMAi4wlIwFdmFsdWWU"
            "hpSMBnVkZi5weZSMCjxsaXN0Y29tcD6UjBhyb3dzLjxsb2NhbHM+LjxsaXN0Y29tcD6USwVDHIAA0BM70BM70BM7oCWQRZhBkUnQEzvQ"
            "EzvQEzuUaA0pKXSUUpSMBXRyaXBzlHSUKYwGaW5wdXRzlIWUaBOMBHJvd3OUaB1LBEMggADYDBHQEzvQEzuoNrAnrD/QEzvREzvUEzvQ"
            "CzzQBDyUaA0pKXSUUpR9lIwIX19uYW1lX1+UjAhfX21haW5fX5RzaB1OTnSUUpR9lH2UjA9fX2Fubm90YXRpb25zX1+UfZRzhpRihZRS"
            "lChoJSl9lE50lGIu"
        ),
    },
    "3.12": {
        "rows": (
            "gASVNAEAAAAAAACMCmRpbGwuX2RpbGyUjBBfY3JlYXRlX2Z1bmN0aW9ulJOUKGgAjAxfY3JlYXRlX2NvZGWUk5QoQwICAZRLAUsASwBL"
            "AksGSwNDPJcAZAF8AGQCGQAAAEQAjwFjAmcAYwJdBwAAfQF8AWQDegAAAJECjAkEAGMCfQFpAVMAYwIBAGMCfQF3AJQoTowDb3V0lIwF"
            "dHJpcHOUSwF0lCmMBmlucHV0c5SMBXZhbHVllIaUjAZ1ZGYucHmUjARyb3dzlGgOSwRDI4AA2AwRqDawJ6k/1hM7oCWQRZhBk0nSEzvQ"
            "CzzQBDz50hM7lEMEiQwZBpQpKXSUUpR9lIwIX19uYW1lX1+UjAhfX21haW5fX5RzaA5OTnSUUpR9lH2UjA9fX2Fubm90YXRpb25zX1+U"
            "fZRzhpRiLg=="
        ),
        "frame": (
            "gASVEAEAAAAAAACMCmRpbGwuX2RpbGyUjBBfY3JlYXRlX2Z1bmN0aW9ulJOUKGgAjAxfY3JlYXRlX2NvZGWUk5QoQwQCARYBlEsBSwBL"
            "AEsBSwNLA0MklwB8AGQBGQAAAGQCegUAAHwAZAM8AAAAfABkA2cBGQAAAFMAlChOjAV0cmlwc5RLAowDb3V0lHSUKYwGaW5wdXRzlIWU"
            "jAZ1ZGYucHmUjAVmcmFtZZRoDUsHQyCAANgUGpg3kU+gYdEUJ4BGiDWBTdgLEZA1kCeJP9AEGpRDAJQpKXSUUpR9lIwIX19uYW1lX1+U"
            "jAhfX21haW5fX5RzaA1OTnSUUpR9lH2UjA9fX2Fubm90YXRpb25zX1+UfZRzhpRiLg=="
        ),
        "attribute": (
            "gASV6gAAAAAAAACMCmRpbGwuX2RpbGyUjBBfY3JlYXRlX2Z1bmN0aW9ulJOUKGgAjAxfY3JlYXRlX2NvZGWUk5QoQwICAZRLAUsASwBL"
            "AUsBSwNDGpcAfABqAAAAAAAAAAAAAAAAAAAAAAAAAFMAlE6FlIwDb3V0lIWUjAZpbnB1dHOUhZSMBnVkZi5weZSMCWF0dHJpYnV0ZZRo"
            "DUsLQwyAANgLEY86iTrQBBWUQwCUKSl0lFKUfZSMCF9fbmFtZV9flIwIX19tYWluX1+Uc2gNTk50lFKUfZR9lIwPX19hbm5vdGF0aW9u"
            "c19flH2Uc4aUYi4="
        ),
        "decorated": (
            "gASVcAIAAAAAAACMCmRpbGwuX2RpbGyUjBBfY3JlYXRlX2Z1bmN0aW9ulJOUKGgAjAxfY3JlYXRlX2NvZGWUk5QoQwIEApRLAEsASwBL"
            "AksFSx9DFJUBlwACAIkCfABpAHwBpAGOAVMAlE6FlCmMBGFyZ3OUjAZrd2FyZ3OUhpSMBnVkZi5weZSMB3dyYXBwZXKUjBdsb2dnZWQu"
            "PGxvY2Fscz4ud3JhcHBlcpRLD0MT+IAA4Q8XmBTQDyigFtEPKNAIKJRDAJSMCGZ1bmN0aW9ulIWUKXSUUpR9lIwIX19uYW1lX1+UjAhf"
            "X21haW5fX5RzjAlkZWNvcmF0ZWSUTmgAjAxfY3JlYXRlX2NlbGyUk5ROhZRSlIWUdJRSlH2UjAtfX3dyYXBwZWRfX5RoAihoBChDAgIC"
            "lEsBSwBLAEsCSwZLA0M8lwBkAXwAZAIZAAAARACPAWMCZwBjAl0HAAB9AXwBZAN6AAAAkQKMCQQAYwJ9AWkBUwBjAgEAYwJ9AXcAlChO"
            "jANvdXSUjAV0cmlwc5RLAXSUKYwGaW5wdXRzlIwFdmFsdWWUhpRoC2gXaBdLFEMjgADgDBGoNrAnqT/WEzugJZBFmEGTSdITO9ALPNAE"
            "PPnSEzuUQwSJDBkGlCkpdJRSlH2UaBVoFnNoF05OdJRSlH2UfZSMD19fYW5ub3RhdGlvbnNfX5R9lHOGlGJzfZRoMmgzc4aUYowIYnVp"
            "bHRpbnOUjAdnZXRhdHRylJOUjARkaWxslIwFX2RpbGyUk5SMCF9zZXRhdHRylGg3jAdzZXRhdHRylJOUh5RSlGgbjA1jZWxsX2NvbnRl"
            "bnRzlGgvh5RSMC4="
        ),
        "instance": (
            "gASVCQIAAAAAAACMCmRpbGwuX2RpbGyUjAxfY3JlYXRlX3R5cGWUk5QoaACMCl9sb2FkX3R5cGWUk5SMBHR5cGWUhZRSlIwIQ2FsbGFi"
            "bGWUaASMBm9iamVjdJSFlFKUhZR9lCiMCl9fbW9kdWxlX1+UjAhfX21haW5fX5SMCF9fY2FsbF9flGgAjBBfY3JlYXRlX2Z1bmN0aW9u"
            "lJOUKGgAjAxfY3JlYXRlX2NvZGWUk5QoQwICAZRLAksASwBLA0sGSwNDPJcAZAF8AWQCGQAAAEQAjwJjAmcAYwJdBwAAfQJ8AmQDegAA"
            "AJECjAkEAGMCfQJpAVMAYwIBAGMCfQJ3AJQoTowDb3V0lIwFdHJpcHOUSwF0lCmMBHNlbGaUjAZpbnB1dHOUjAV2YWx1ZZSHlIwGdWRm"
            "LnB5lGgQjBFDYWxsYWJsZS5fX2NhbGxfX5RLGUMjgADYEBWodrBnqX/WFz+gZZgFoAGbCdIXP9APQNAIQPnSFz+UQwSJDBkGlCkpdJRS"
            "lH2UjAhfX25hbWVfX5RoD3NoEE5OdJRSlH2UfZQojA9fX2Fubm90YXRpb25zX1+UfZSMDF9fcXVhbG5hbWVfX5RoH3WGlGKMB19fZG9j"
            "X1+UTowNX19zbG90bmFtZXNfX5RdlHV0lFKUjAhidWlsdGluc5SMB3NldGF0dHKUk5RoMmgsaAiHlFIwKYGULg=="
        ),
        "partial": (
            "gASVZQEAAAAAAACMCmRpbGwuX2RpbGyUjApfbG9hZF90eXBllJOUjAtQYXJ0aWFsVHlwZZSFlFKUaACMEF9jcmVhdGVfZnVuY3Rpb26U"
            "k5QoaACMDF9jcmVhdGVfY29kZZSTlChDAgIBlEsBSwBLAEsCSwZLA0M8lwBkAXwAZAIZAAAARACPAWMCZwBjAl0HAAB9AXwBZAN6AAAA"
            "kQKMCQQAYwJ9AWkBUwBjAgEAYwJ9AXcAlChOjANvdXSUjAV0cmlwc5RLAXSUKYwGaW5wdXRzlIwFdmFsdWWUhpSMBnVkZi5weZSMBHJv"
            "d3OUaBNLBEMjgADYDBGoNrAnqT/WEzugJZBFmEGTSdITO9ALPNAEPPnSEzuUQwSJDBkGlCkpdJRSlH2UjAhfX25hbWVfX5SMCF9fbWFp"
            "bl9flHNoE05OdJRSlH2UfZSMD19fYW5ub3RhdGlvbnNfX5R9lHOGlGKFlFKUKGgcKX2UTnSUYi4="
        ),
    },
    "3.13": {
        "rows": (
            "gASVOAEAAAAAAACMCmRpbGwuX2RpbGyUjBBfY3JlYXRlX2Z1bmN0aW9ulJOUKGgAjAxfY3JlYXRlX2NvZGWUk5QoQwICAZRLAUsASwBL"
            "AksGSwNDPpUAUwFVAFMCBQAAABMAVgFzAi8AcwJIBwAAbxFTAy0AAABQAk0JAAALACAAcwJuATABJABzAiAAcwJuAWYAlChOjANvdXSU"
            "jAV0cmlwc5RLAXSUKYwGaW5wdXRzlIwFdmFsdWWUhpSMBnVkZi5weZSMBHJvd3OUaA5LBEMlgADYDBGoNrAnqj/TEzupP6AlmEGUSak/"
            "0RM70As80AQ8+dITO5RDBIkNGgaUKSl0lFKUfZSMCF9fbmFtZV9flIwIX19tYWluX1+Uc2gOTk50lFKUfZR9lIwPX19hbm5vdGF0aW9u"
            "c19flH2Uc4aUYi4="
        ),
        "frame": (
            "gASVEAEAAAAAAACMCmRpbGwuX2RpbGyUjBBfY3JlYXRlX2Z1bmN0aW9ulJOUKGgAjAxfY3JlYXRlX2NvZGWUk5QoQwQCARYBlEsBSwBL"
            "AEsBSwNLA0MklQBVAFMBBQAAAFMCLQUAAFUAUwMnAAAAVQBTAy8BBQAAACQAlChOjAV0cmlwc5RLAowDb3V0lHSUKYwGaW5wdXRzlIWU"
            "jAZ1ZGYucHmUjAVmcmFtZZRoDUsHQyCAANgUGpg3kU+gYdEUJ4BGiDWBTdgLEZA1kCeJP9AEGpRDAJQpKXSUUpR9lIwIX19uYW1lX1+U"
            "jAhfX21haW5fX5RzaA1OTnSUUpR9lH2UjA9fX2Fubm90YXRpb25zX1+UfZRzhpRiLg=="
        ),
        "attribute": (
            "gASV6gAAAAAAAACMCmRpbGwuX2RpbGyUjBBfY3JlYXRlX2Z1bmN0aW9ulJOUKGgAjAxfY3JlYXRlX2NvZGWUk5QoQwICAZRLAUsASwBL"
            "AUsBSwNDGpUAVQBSAAAAAAAAAAAAAAAAAAAAAAAAACQAlE6FlIwDb3V0lIWUjAZpbnB1dHOUhZSMBnVkZi5weZSMCWF0dHJpYnV0ZZRo"
            "DUsLQwyAANgLEY86iTrQBBWUQwCUKSl0lFKUfZSMCF9fbmFtZV9flIwIX19tYWluX1+Uc2gNTk50lFKUfZR9lIwPX19hbm5vdGF0aW9u"
            "c19flH2Uc4aUYi4="
        ),
        "decorated": (
            "gASVdAIAAAAAAACMCmRpbGwuX2RpbGyUjBBfY3JlYXRlX2Z1bmN0aW9ulJOUKGgAjAxfY3JlYXRlX2NvZGWUk5QoQwIEApRLAEsASwBL"
            "AksFSx9DFD4BlQBUAiIAVQAwAFUBRAE2ASQAlE6FlCmMBGFyZ3OUjAZrd2FyZ3OUhpSMBnVkZi5weZSMB3dyYXBwZXKUjBdsb2dnZWQu"
            "PGxvY2Fscz4ud3JhcHBlcpRLD0MT+IAA4Q8XmBTQDyigFtEPKNAIKJRDAJSMCGZ1bmN0aW9ulIWUKXSUUpR9lIwIX19uYW1lX1+UjAhf"
            "X21haW5fX5RzjAlkZWNvcmF0ZWSUTmgAjAxfY3JlYXRlX2NlbGyUk5ROhZRSlIWUdJRSlH2UjAtfX3dyYXBwZWRfX5RoAihoBChDAgIC"
            "lEsBSwBLAEsCSwZLA0M+lQBTAVUAUwIFAAAAEwBWAXMCLwBzAkgHAABvEVMDLQAAAFACTQkAAAsAIABzAm4BMAEkAHMCIABzAm4BZgCU"
            "KE6MA291dJSMBXRyaXBzlEsBdJQpjAZpbnB1dHOUjAV2YWx1ZZSGlGgLaBdoF0sUQyWAAOAMEag2sCeqP9MTO6k/oCWYQZRJqT/REzvQ"
            "CzzQBDz50hM7lEMEiQ0aBpQpKXSUUpR9lGgVaBZzaBdOTnSUUpR9lH2UjA9fX2Fubm90YXRpb25zX1+UfZRzhpRic32UaDJoM3OGlGKM"
            "CGJ1aWx0aW5zlIwHZ2V0YXR0cpSTlIwEZGlsbJSMBV9kaWxslJOUjAhfc2V0YXR0cpRoN4wHc2V0YXR0cpSTlIeUUpRoG4wNY2VsbF9j"
            "b250ZW50c5RoL4eUUjAu"
        ),
        "instance": (
            "gASVOgIAAAAAAACMCmRpbGwuX2RpbGyUjAxfY3JlYXRlX3R5cGWUk5QoaACMCl9sb2FkX3R5cGWUk5SMBHR5cGWUhZRSlIwIQ2FsbGFi"
            "bGWUaASMBm9iamVjdJSFlFKUhZR9lCiMCl9fbW9kdWxlX1+UjAhfX21haW5fX5SMD19fZmlyc3RsaW5lbm9fX5RLGIwIX19jYWxsX1+U"
            "aACMEF9jcmVhdGVfZnVuY3Rpb26Uk5QoaACMDF9jcmVhdGVfY29kZZSTlChDAgIBlEsCSwBLAEsDSwZLA0M+lQBTAVUBUwIFAAAAEwBW"
            "AnMCLwBzAkgHAABvIlMDLQAAAFACTQkAAAsAIABzAm4CMAEkAHMCIABzAm4CZgCUKE6MA291dJSMBXRyaXBzlEsBdJQpjARzZWxmlIwG"
            "aW5wdXRzlIwFdmFsdWWUh5SMBnVkZi5weZRoEYwRQ2FsbGFibGUuX19jYWxsX1+USxlDJYAA2BAVqHawZ6p/0xc/qX+gZaABnAmpf9EX"
            "P9APQNAIQPnSFz+UQwSJDRoGlCkpdJRSlH2UjAhfX25hbWVfX5RoD3NoEU5OdJRSlH2UfZQojA9fX2Fubm90YXRpb25zX1+UfZSMDF9f"
            "cXVhbG5hbWVfX5RoIHWGlGKMFV9fc3RhdGljX2F0dHJpYnV0ZXNfX5QpjAdfX2RvY19flE6MDV9fc2xvdG5hbWVzX1+UXZR1dJRSlIwI"
            "YnVpbHRpbnOUjAdzZXRhdHRylJOUaDRoLWgIh5RSMCmBlC4="
        ),
        "partial": (
            "gASVaQEAAAAAAACMCmRpbGwuX2RpbGyUjApfbG9hZF90eXBllJOUjAtQYXJ0aWFsVHlwZZSFlFKUaACMEF9jcmVhdGVfZnVuY3Rpb26U"
            "k5QoaACMDF9jcmVhdGVfY29kZZSTlChDAgIBlEsBSwBLAEsCSwZLA0M+lQBTAVUAUwIFAAAAEwBWAXMCLwBzAkgHAABvEVMDLQAAAFAC"
            "TQkAAAsAIABzAm4BMAEkAHMCIABzAm4BZgCUKE6MA291dJSMBXRyaXBzlEsBdJQpjAZpbnB1dHOUjAV2YWx1ZZSGlIwGdWRmLnB5lIwE"
            "cm93c5RoE0sEQyWAANgMEag2sCeqP9MTO6k/oCWYQZRJqT/REzvQCzzQBDz50hM7lEMEiQ0aBpQpKXSUUpR9lIwIX19uYW1lX1+UjAhf"
            "X21haW5fX5RzaBNOTnSUUpR9lH2UjA9fX2Fubm90YXRpb25zX1+UfZRzhpRihZRSlChoHCl9lE50lGIu"
        ),
    },
}

RUNNING = f"{sys.version_info[0]}.{sys.version_info[1]}"
FOREIGN = [(version, name) for version, made in PICKLES.items() if version != RUNNING for name in made]


def pickled(function: object) -> bytes:
    """As Feast pickles a function."""
    data: bytes = dill.dumps(function, recurse=True)
    return data


def record(
    function: bytes = b"", mode: str = "python", *, aggregates: bool = False, source: str = "", name: str = ""
) -> OnDemandFeatureView:
    """A view as `load` gets it."""
    return OnDemandFeatureView("fare", (), (), (), mode, function, source, name, aggregates=aggregates)


def refusal(one: OnDemandFeatureView) -> str:
    """Why a view cannot be served."""
    with pytest.raises(RequestError) as caught:
        load(one)
    assert caught.value.status == 400
    message = str(caught.value)
    assert message.startswith("On-demand feature view 'fare' cannot be served: ")
    return message.partition(": ")[2]


OTHER_VERSION = "its function was pickled by another version of Python; run `feast apply` with this one"


@pytest.mark.parametrize(("version", "name"), FOREIGN)
def test_pickles_of_another_version_are_refused(version: str, name: str) -> None:
    mode = "pandas" if name == "frame" else "python"
    assert refusal(record(base64.b64decode(PICKLES[version][name]), mode)) == OTHER_VERSION


@pytest.mark.parametrize("name", ["rows", "frame", "attribute", "decorated", "instance", "partial"])
def test_pickles_of_this_version_are_loaded(name: str) -> None:
    """Real ones if there are such here, else made now."""
    if RUNNING in PICKLES:
        function = load(record(base64.b64decode(PICKLES[RUNNING][name])))
    else:
        namespace: dict[str, Any] = {"__name__": "__main__"}
        exec(SOURCE, namespace)
        function = load(record(pickled(namespace[name])))
    match name:
        case "frame":
            assert list(function(pandas.DataFrame({"trips": [1, 2]}))["out"]) == [2, 4]
        case "attribute":
            assert function(pandas.DataFrame({"out": [1]})).tolist() == [1]
        case _:
            assert function({"trips": [1, 2]}) == {"out": [2, 3]}


@pytest.mark.parametrize(("version", "name"), FOREIGN)
def test_foreign_code_is_refused_before_it_exists(version: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading `co_code` of another version's code can crash CPython 3.11, so there must be no such code object."""
    made: list[object] = []
    create = dill._dill._create_code

    def counted(*arguments: Any) -> object:
        made.append(create(*arguments))
        return made[-1]

    monkeypatch.setattr(dill._dill, "_create_code", counted)
    refusal(record(base64.b64decode(PICKLES[version][name])))
    codes = [code for code in made if "out" in (*code.co_consts, *code.co_names)]  # type: ignore[attr-defined]
    assert codes == []


# ----------------------------------------------------------------------- the source, where the pickle cannot be loaded

DECORATED = """
    # with a comment, and a text that looks like the end: )
    @on_demand_feature_view(sources=[stats, req], schema=[Field(name="out", dtype=Int64)], tags={"a": "(def f)"})
    @another
    def fare(inputs: Inputs, factor: "int" = 2) -> dict[str, Any]:
        def twice(value: Fare):
            return value * factor
        return {"out": [twice(value) for value in inputs["trips"]]}
"""


@pytest.mark.parametrize(("version", "name"), FOREIGN[:1])
def test_the_source_serves_where_the_pickle_is_of_another_version(version: str, name: str) -> None:
    """Feast 0.67.0 executes the source first, and so serves what another Python has applied."""
    function = load(record(base64.b64decode(PICKLES[version][name]), source=DECORATED, name="fare"))
    assert function({"trips": [1, 2]}) == {"out": [2, 4]}


def test_the_pickle_goes_first() -> None:
    """It has the helpers and imports of its module. Feast's server fails such a function (NameError, 500)."""
    source = "def plain(inputs): return helper(inputs)"
    assert load(record(pickled(own_functions()["plain"]), source=source))({"v": [1]}) == {"out": [2]}


def test_sources_may_use_pandas_and_numpy_as_in_feast() -> None:
    source = "def fare(inputs):\n    return pd.DataFrame({'out': np.add(inputs['trips'], numpy.int64(1))})"
    assert list(load(record(b"", "pandas", source=source))(pandas.DataFrame({"trips": [1]}))["out"]) == [2]


@pytest.mark.parametrize(
    "source",
    [
        "def fare(inputs): return {'out': [math.floor(v) for v in inputs['trips']]}",
        "def fare(inputs):\n    def inner(): return helper()\n    return inner()",
        "def fare(inputs, default=DEFAULT): return {}",
        *("def fare(inputs): return", "no python (", "lambda inputs: inputs", "fare = 5", "1 / 0", "\0")[1:],
    ],
)
def test_a_source_that_is_not_enough_leaves_the_pickles_message(source: str) -> None:
    assert refusal(record(b"garbage", source=source)) == "its function does not unpickle here (UnpicklingError)"


def test_of_several_functions_the_named_one_is_meant() -> None:
    source = "def helper(v): return v + 1\ndef fare(inputs): return {'out': [helper(v) for v in inputs['trips']]}"
    assert load(record(source=source, name="fare"))({"trips": [1]}) == {"out": [2]}


# ------------------------------------------------------------------------------ functions of ours that must be accepted


def own_functions() -> dict[str, Callable[..., Any]]:
    """Functions that use what bytecode has to offer; each maps {"v": [1, 2, 3]} to {"out": [2, 4, 6]}."""
    factor = 2

    def doubled(value: int) -> int:
        return value * factor

    def logged(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

        return wrapper

    def plain(inputs: dict[str, Any]) -> dict[str, Any]:
        out = []
        for value in inputs["v"]:
            out.append(value * 2)  # noqa: PERF401  # a loop is what is wanted
        return {"out": out}

    def closure(inputs: dict[str, Any]) -> dict[str, Any]:
        return {"out": [doubled(value) for value in inputs["v"]]}

    @logged
    def decorated(inputs: dict[str, Any]) -> dict[str, Any]:
        return {"out": [value * factor for value in inputs["v"]]}

    def comprehensions(inputs: dict[str, Any]) -> dict[str, Any]:
        table = {value: value * 2 for value in inputs["v"]}
        assert {value for value in table} == set(table)  # noqa: C416
        nested = [[one for one in range(value)] for value in inputs["v"]]  # noqa: C416
        return {"out": [sum(1 for _ in row) * 2 for row in nested]}

    def tries(inputs: dict[str, Any]) -> dict[str, Any]:
        out = []
        for value in inputs["v"]:
            try:
                out.append(value * 2 if value < 3 else int("x"))
            except (ValueError, TypeError) as error:
                str(error)
                out.append(6)
            finally:
                assert out
        return {"out": out}

    def matches(inputs: dict[str, Any]) -> dict[str, Any]:
        match inputs:
            case {"v": [first, *rest]} if first:
                return {"out": [first * 2, *(value * 2 for value in rest)]}
            case _:
                raise ValueError

    def texts(inputs: dict[str, Any]) -> dict[str, Any]:
        return {"out": [int(f"{value * 2:>3}{'':s}") for value in inputs["v"]]}

    def withs(inputs: dict[str, Any]) -> dict[str, Any]:
        import contextlib

        with contextlib.suppress(KeyError):
            inputs["none"]

        def by_two(value: int, /, *, by: int = 2) -> int:
            return value * by

        head, *tail = inputs["v"][:]
        return {"out": [head * 2, *(by_two(value) for value in tail)]}

    def generates(inputs: dict[str, Any]) -> dict[str, Any]:
        def each() -> Iterator[int]:
            yield from (value * 2 for value in inputs["v"])

        return {"out": list(each())}

    def classes(inputs: dict[str, Any]) -> dict[str, Any]:
        class Doubler:
            def __init__(self, value: int) -> None:
                self.value = value

            def __call__(self) -> int:
                self.value *= 2
                return self.value

        return {"out": [Doubler(value)() for value in inputs["v"]]}

    def loops(inputs: dict[str, Any]) -> dict[str, Any]:
        out: list[int] = []
        while len(out) < len(inputs["v"]):
            value = inputs["v"][len(out)]
            out += [value * 2] if value is not None and 0 < value <= 3 else []
        else:
            assert not [] or out
        return {"out": out}

    named = (plain, closure, decorated, comprehensions, tries, matches, texts, withs, generates, classes, loops)
    return {
        **{function.__name__: function for function in named},
        "lambda": lambda inputs: {"out": [value * 2 for value in inputs["v"]]},
        "partial": functools.partial(lambda by, inputs: {"out": [value * by for value in inputs["v"]]}, 2),
    }


@pytest.mark.parametrize("name", own_functions())
def test_functions_of_this_python_are_loaded_new_and_after_many_calls(name: str) -> None:
    """CPython specialises the bytecode of what runs often; the pickle and what was loaded from it are still its own."""
    function = own_functions()[name]
    for _ in range(3):
        for _ in range(200):
            assert function({"v": [1, 2, 3]}) == {"out": [2, 4, 6]}
        function = load(record(pickled(function)))


def test_bytecode_of_this_python_is_its_own_after_many_calls() -> None:
    for name, function in own_functions().items():
        if name != "partial":
            for _ in range(200):
                function({"v": [1, 2, 3]})
            assert not is_foreign(function.__code__.co_code), name


@pytest.mark.parametrize(
    "instructions",
    [
        b"",
        b"d\0S\0",  # LOAD_CONST, RETURN_VALUE of 3.10: nothing resumes
        bytes([*range(0, 256, 2), 0]),
        b"\xff\0" * 3,
    ],
)
def test_bytes_that_are_no_code_of_this_python(instructions: bytes) -> None:
    assert is_foreign(instructions)


def test_an_opcode_that_this_python_does_not_have_is_foreign() -> None:
    unknown = next(number for number, name in enumerate(opcode.opname) if name.startswith("<"))
    resume = bytes([opcode.opmap["RESUME"], 0])
    assert not is_foreign(resume)
    assert is_foreign(resume + bytes([unknown, 0]))


def test_a_cache_entry_that_is_not_zero_is_foreign() -> None:
    """In code that has never run it is zero: here is an instruction of another version."""

    def fetch(inputs: dict[str, Any]) -> Any:
        return inputs["v"]

    code = bytearray(fetch.__code__.co_code)
    offsets = [one.offset for one in dis.get_instructions(fetch)]  # cache entries are not among them
    cache = next(offset + 2 for offset, after in pairwise(offsets) if after - offset > 2)
    assert not is_foreign(bytes(code))
    code[cache] = 1
    assert is_foreign(bytes(code))


def test_code_that_ends_within_an_instruction_is_foreign() -> None:
    def fetch(inputs: dict[str, Any]) -> Any:
        return inputs["v"]

    code = fetch.__code__.co_code
    assert not is_foreign(code)
    cut = max(end for end in range(2, len(code), 2) if not code[end - 2] and code[end])  # after the last cache entry
    assert is_foreign(code[: cut - 2])


# --------------------------------------------------------------------------------------------------- what is not loaded


@pytest.mark.parametrize(
    ("one", "reason"),
    [
        (record(mode="substrait"), "its mode is 'substrait'; expected python or pandas"),
        (record(mode="ray"), "its mode is 'ray'; expected python or pandas"),
        (record(aggregates=True), "aggregations are not computed at request time"),
        (record(mode="substrait", aggregates=True), "aggregations are not computed at request time"),
        (record(b"garbage"), "its function does not unpickle here (UnpicklingError)"),
        (record(b""), "its function does not unpickle here (EOFError)"),
        (record(pickled(own_functions()["plain"])[:-5]), "its function does not unpickle here (UnpicklingError)"),
        (record(b"cmath\nno_such_thing\n."), "its function does not unpickle here (AttributeError)"),
        (record(b"csys\nexit\n(S'bye'\ntR."), "its function does not unpickle here (SystemExit)"),
        (record(pickled(7)), "what the registry holds is no function"),
        (record(pickled({"a": 1})), "what the registry holds is no function"),
        (
            record(b"cno_such_module\nfunction\n."),
            "its function needs the module 'no_such_module', which is not installed",
        ),
    ],
)
def test_what_cannot_be_loaded_is_told_with_the_views_name(one: OnDemandFeatureView, reason: str) -> None:
    assert refusal(one) == reason


def _told() -> None:
    raise ShutdownRequested(0)


def test_a_signal_while_a_function_is_loaded_is_not_the_functions() -> None:
    with pytest.raises(ShutdownRequested):
        load(record(b"ctests.features.test_transforms\n_told\n(tR."))


def test_function_that_needs_a_module_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The module is a global of the function; the machine that applied it had it."""
    (tmp_path / "fares_of_ours.py").write_text("def fare(value): return value * 2\n")
    monkeypatch.syspath_prepend(tmp_path)
    namespace: dict[str, Any] = {"__name__": "__main__"}
    exec("import fares_of_ours\ndef f(inputs): return {'out': list(map(fares_of_ours.fare, inputs['v']))}", namespace)
    function = pickled(namespace["f"])
    assert load(record(function))({"v": [1]}) == {"out": [2]}
    monkeypatch.delitem(sys.modules, "fares_of_ours")
    (tmp_path / "fares_of_ours.py").unlink()
    assert refusal(record(function)) == "its function needs the module 'fares_of_ours', which is not installed"


@pytest.mark.parametrize(
    ("mode", "absent"), [("python", "dill"), ("pandas", "dill"), ("pandas", "pandas"), ("pandas", "pyarrow")]
)
def test_without_the_extra_it_is_named(mode: str, absent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    function = pickled(own_functions()["plain"])
    monkeypatch.setitem(sys.modules, absent, None)
    expected = f"{absent} is not installed: in a clone, pip install '.[transforms]'; with a wheel, "
    assert expected in refusal(record(function, mode))


@pytest.mark.parametrize("absent", ["pandas", "pyarrow"])
def test_python_mode_needs_no_pandas(absent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    function = pickled(own_functions()["plain"])
    monkeypatch.setitem(sys.modules, absent, None)
    assert load(record(function))({"v": [1]}) == {"out": [2]}


# ------------------------------------------------------------------------------------------------ a registry with views

STATS = view(
    "stats",
    ["driver"],
    {"driver_id": INT64},
    {"trips": INT64, "rate": DOUBLE, "city": STRING, "tags": ValueType.STRING_LIST, "seen": ValueType.UNIX_TIMESTAMP},
)
OTHER = view("other", ["driver"], {"driver_id": INT64}, {"hidden": INT64})


def on_demand(
    name: str,
    function: Callable[..., Any] | bytes,
    outputs: Mapping[str, ValueType],
    *,
    mode: str = "python",
    sources: Sequence[messages.FeatureView] = (STATS,),
    asked: Mapping[str, ValueType] | None = None,
    singleton: bool = False,
    project: str = "rides",
) -> messages.OnDemandFeatureView:
    """`asked`: what it wants to have with the request."""
    body = function if isinstance(function, bytes) else pickled(function)
    spec = messages.OnDemandFeatureViewSpec(
        name=name, project=project, features=fields(outputs), mode=mode, singleton=singleton
    )
    spec.feature_transformation.user_defined_function.body = body
    for source in sources:
        spec.sources[source.spec.name].feature_view_projection.CopyFrom(projection(source))
    if asked:
        spec.sources["asked"].request_data_source.request_data_options.schema.extend(fields(asked))
    return messages.OnDemandFeatureView(spec=spec)


Stored = Mapping[str, Sequence[Value | None]]
"""Feature -> what the store has for each entity, in the order of their first appearance in the request."""


def computed(
    views: Sequence[messages.OnDemandFeatureView],
    features: Sequence[str],
    entities: Mapping[str, list[Any]],
    stored: Stored | None = None,
    *,
    full_names: bool = False,
    extra: Sequence[Item] = (),
    named: str | None = None,
    strict: bool = False,
) -> dict[str, list[Any]]:
    """The columns that on-demand views make of a request. `named` is a service to ask for instead of `features`."""
    plan, bound, rows = asked(
        views, features, entities, stored, full_names=full_names, extra=extra, named=named, strict=strict
    )
    return {column.name: column.values for column in compute(plan, bound, rows)}


def asked(
    views: Sequence[messages.OnDemandFeatureView],
    features: Sequence[str],
    entities: Mapping[str, list[Any]],
    stored: Stored | None = None,
    *,
    full_names: bool = False,
    extra: Sequence[Item] = (),
    named: str | None = None,
    strict: bool = False,
) -> tuple[Plan, Bound, Rows]:
    """A request for on-demand views, bound and read."""
    catalog = Catalog(
        parsed(entity("driver", "driver_id"), STATS, OTHER, *views, *extra),
        key_version=3,
        versioning=False,
        prepare=lambda lookups: lookups,
        lay_out=functools.partial(Layout, policy=StatusPolicy.PRESENT, tails=Tails()),
        load=load,
        strict=strict,
    )
    compiled = catalog.plan_for(named, list(features), full_names)
    plan, bound = compiled.plan, compiled.binder.bind(entities)

    def cell(feature: str, place: int) -> bytes | None:
        value = ((stored or {}).get(feature) or [None] * (place + 1))[place]
        return None if value is None else value.SerializeToString()

    rows = [
        [
            [*(cell(feature.name, place) for feature in lookup.features), *(None for _ in lookup.views)]
            for place, _ in enumerate(keys)
        ]
        for lookup, keys in zip(plan.lookups, bound.keys, strict=True)
    ]
    return plan, bound, rows


def ints(*values: int | None) -> list[Value | None]:
    return [None if value is None else Value(int64_val=value) for value in values]


# --------------------------------------------------------------------------------------------- what a function is given


def seen_by(
    features: Sequence[str],
    entities: Mapping[str, list[Any]],
    stored: Stored,
    **more: Any,
) -> Any:
    """What a function in python mode gets, as it says itself: by repr, since JSON has fewer types."""

    def tell(inputs: dict[str, Any]) -> dict[str, Any]:
        return {"told": repr(sorted(inputs.items()))}

    columns = computed([on_demand("spy", tell, {"told": STRING}, **more)], ["spy:told", *features], entities, stored)
    namespace = {"datetime": __import__("datetime")}
    return dict(eval(columns["told"][0], namespace))


def test_a_function_sees_keys_request_data_and_features_by_both_names() -> None:
    seen = seen_by(
        [],
        {"driver_id": ["7", 8], "bonus": [1, 2.5]},
        {"trips": ints(5, 6), "rate": [None, Value(double_val=0.5)]},
        asked={"bonus": DOUBLE},
    )
    assert seen.pop("seen") == seen.pop("stats__seen") == [None, None]
    assert seen == {
        "driver_id": [7, 8],
        # Feast's python_values_to_proto_values (feast/type_map.py) is given no declared type of request data, and takes
        # that of the first value.
        "bonus": [1, 2],
        **{key: [5, 6] for key in ("trips", "stats__trips")},
        **{key: [None, 0.5] for key in ("rate", "stats__rate")},
        **{key: [None, None] for key in ("city", "stats__city", "tags", "stats__tags")},
    }


def test_a_function_sees_the_columns_that_it_asks_for_and_no_others() -> None:
    """Of what a request brings, those are join keys and the view's own request data."""
    seen = seen_by([], {"driver_id": [7], "bonus": [1], "of another": [2]}, {}, asked={"bonus": INT64})
    assert {"driver_id", "bonus"} <= set(seen)
    assert "of another" not in seen


def test_request_data_may_be_times_of_which_some_are_missing() -> None:
    """A column that a join key of the same name types: as a datetime, and None for a null."""
    when = view("when", ["moment"], {"at": ValueType.UNIX_TIMESTAMP}, {"x": INT64})

    def tell(inputs: dict[str, Any]) -> dict[str, Any]:
        return {"told": [repr(inputs["at"])]}

    spy = on_demand("spy", tell, {"told": STRING}, sources=[], asked={"at": ValueType.UNIX_TIMESTAMP})
    entities: dict[str, list[Any]] = {"at": [None, 1_700_000_000]}
    columns = computed(
        [spy], ["spy:told", "when:x"], {**entities, "moment": [1, 2]}, extra=[entity("moment", "moment_id"), when]
    )
    assert columns["told"] == ["[None, datetime.datetime(2023, 11, 14, 22, 13, 20, tzinfo=datetime.timezone.utc)]"]


def test_values_are_pythons() -> None:
    moment = Value(unix_timestamp_val=1_700_000_000)
    tags = Value()
    tags.string_list_val.val.extend(["a", "b"])
    seen = seen_by([], {"driver_id": [7]}, {"seen": [moment], "tags": [tags], "city": [Value(string_val="Łódź")]})
    assert seen["seen"] == [datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)]
    assert seen["tags"] == [["a", "b"]]
    assert seen["city"] == ["Łódź"]


def test_a_function_does_not_see_what_it_did_not_declare() -> None:
    seen = seen_by(["other:hidden"], {"driver_id": [7]}, {"hidden": ints(1), "trips": ints(2)})
    assert "hidden" not in seen
    assert "other__hidden" not in seen
    assert seen["trips"] == [2]


def test_rows_of_the_same_entity_are_given_each() -> None:
    def total(inputs: dict[str, Any]) -> dict[str, Any]:
        return {"out": [trips + bonus for trips, bonus in zip(inputs["trips"], inputs["bonus"], strict=True)]}

    one = on_demand("fare", total, {"out": INT64}, asked={"bonus": INT64})
    entities: dict[str, list[Any]] = {"driver_id": [7, 8, 7, 7], "bonus": [1, 2, 3, 4]}
    assert computed([one], ["fare:out"], entities, {"trips": ints(10, 20)}) == {"out": [11, 22, 13, 14]}


def test_uuids_are_text_in_a_frame_also_within_lists_and_sets() -> None:
    """Arrow, through which Feast makes frames, has neither UUIDs nor sets."""
    ids = view(
        "ids",
        ["driver"],
        {"driver_id": INT64},
        {"one": ValueType.UUID, "some": ValueType.UUID_LIST, "few": ValueType.UUID_SET},
    )
    text = "12345678-1234-5678-1234-567812345678"

    def function(inputs: Any) -> Any:
        return inputs.assign(
            out=[
                f"{one!r} {list(some)} {list(few)}"
                for one, some, few in zip(inputs["one"], inputs["some"], inputs["few"], strict=True)
            ]
        )

    one = on_demand("spy", function, {"out": STRING}, mode="pandas", sources=[ids])
    listed = values.StringList(val=[text])
    stored: Stored = {
        "one": [Value(uuid_val=text)],
        "some": [Value(uuid_list_val=listed)],
        "few": [Value(uuid_set_val=listed)],
    }
    assert computed([one], ["spy:out"], {"driver_id": [7]}, stored, extra=[ids]) == {
        "out": [f"{text!r} [{text!r}] [{text!r}]"]
    }


def test_nulls_are_none_in_python_and_nan_in_pandas() -> None:
    def in_python(inputs: dict[str, Any]) -> dict[str, Any]:
        return {"kinds": [type(value).__name__ for value in inputs["trips"]]}

    def in_pandas(inputs: Any) -> Any:
        return inputs.assign(kinds_pd=[f"{value!r}/{inputs['trips'].dtype}" for value in inputs["trips"].tolist()])

    views = [
        on_demand("py", in_python, {"kinds": STRING}),
        on_demand("pd", in_pandas, {"kinds_pd": STRING}, mode="pandas"),
    ]
    columns = computed(views, ["py:kinds", "pd:kinds_pd"], {"driver_id": [1, 2]}, {"trips": ints(5, None)})
    assert columns == {"kinds": ["int", "NoneType"], "kinds_pd": ["5.0/float64", "nan/float64"]}


@pytest.mark.parametrize("mode", ["python", "pandas"])
def test_columns_of_a_pandas_or_python_function(mode: str) -> None:
    def in_python(inputs: dict[str, Any]) -> dict[str, Any]:
        return {
            "more": [(trips or 0) + 1 for trips in inputs["trips"]],
            "half": [None if rate is None else rate / 2 for rate in inputs["rate"]],
        }

    def in_pandas(inputs: Any) -> Any:
        out = inputs[[]].copy()
        out["more"] = inputs["trips"].fillna(0).astype("int64") + 1
        out["half"] = inputs["stats__rate"] / 2
        return out

    one = on_demand("fare", in_python if mode == "python" else in_pandas, {"more": INT64, "half": DOUBLE}, mode=mode)
    stored: Stored = {"trips": ints(1, None), "rate": [None, Value(double_val=0.5)]}
    entities = {"driver_id": [1, 2]}
    assert computed([one], ["fare:more", "fare:half"], entities, stored) == {"more": [2, 1], "half": [None, 0.25]}
    assert computed([one], ["fare:half"], entities, stored, full_names=True) == {"fare__half": [None, 0.25]}


@pytest.mark.parametrize("full_names", [False, True])
@pytest.mark.parametrize("returned", ["out", "fare__out"])
@pytest.mark.parametrize("mode", ["python", "pandas"])
def test_results_may_be_called_by_either_name(mode: str, returned: str, full_names: bool) -> None:
    def in_python(inputs: dict[str, Any]) -> dict[str, Any]:
        return {returned: inputs["trips"]}

    def in_pandas(inputs: Any) -> Any:
        return inputs[["trips"]].rename(columns={"trips": returned})

    one = on_demand("fare", in_python if mode == "python" else in_pandas, {"out": INT64}, mode=mode)
    columns = computed([one], ["fare:out"], {"driver_id": [1]}, {"trips": ints(5)}, full_names=full_names)
    assert columns == {"fare__out" if full_names else "out": [5]}


def test_with_an_alias_a_service_answers_by_the_alias() -> None:
    def out(inputs: dict[str, Any]) -> dict[str, Any]:
        return {"out": inputs["trips"]}

    one = on_demand("fare", out, {"out": INT64})
    use = messages.FeatureViewProjection(
        feature_view_name="fare", feature_view_name_alias="price", feature_columns=fields({"out": INT64})
    )
    for full_names, name in ((False, "out"), (True, "price__out")):
        columns = computed(
            *([one], [], {"driver_id": [1]}, {"trips": ints(5)}),
            full_names=full_names,
            extra=[service("priced", use)],
            named="priced",
        )
        assert columns == {name: [5]}


def test_a_singleton_sees_the_first_row_and_makes_one_value() -> None:
    def out(inputs: dict[str, Any]) -> dict[str, Any]:
        return {"out": inputs["trips"] + inputs["bonus"], "list": [inputs["trips"]]}

    one = on_demand("fare", out, {"out": INT64, "list": INT64}, asked={"bonus": INT64}, singleton=True)
    entities: dict[str, list[Any]] = {"driver_id": [7, 8], "bonus": [1, 2]}
    expected = {"out": [11], "list": [10]}
    assert computed([one], ["fare:out", "fare:list"], entities, {"trips": ints(10, 20)}) == expected


def test_where_answers_are_strict_a_singleton_is_called_for_each_row() -> None:
    """feast#4075. A list of one is a column to Feast's functions; of a feature of lists it may be the value itself."""

    def out(inputs: dict[str, Any]) -> dict[str, Any]:
        inputs["own"] = None  # what it does to its row is nobody else's business
        return {"out": inputs["trips"] + inputs["bonus"], "one": [inputs["trips"]], "many": [inputs["trips"], 0]}

    outputs = {"out": INT64, "one": INT64, "many": ValueType.INT64_LIST}
    one = on_demand("fare", out, outputs, asked={"bonus": INT64}, singleton=True)
    features = [f"fare:{name}" for name in outputs]
    entities: dict[str, list[Any]] = {"driver_id": [7, 8, 7], "bonus": [1, 2, 3]}
    expected = {"out": [11, 22, 13], "one": [10, 20, 10], "many": [[10, 0], [20, 0], [10, 0]]}
    assert computed([one], features, entities, {"trips": ints(10, 20)}, strict=True) == expected


def test_of_no_rows_a_singleton_makes_no_values() -> None:
    def out(inputs: dict[str, Any]) -> dict[str, Any]:
        return {"out": 1 / 0}

    one = on_demand("fare", out, {"out": INT64}, sources=[], asked={"bonus": INT64}, singleton=True)
    assert computed([one], ["fare:out"], {"bonus": []}) == {"out": []}
    assert computed([one], ["fare:out"], {"bonus": []}, strict=True) == {"out": []}


def test_where_answers_are_strict_one_value_is_that_of_each_row() -> None:
    def out(inputs: dict[str, Any]) -> dict[str, Any]:
        return {"out": 5}

    one = on_demand("fare", out, {"out": INT64})
    entities: dict[str, list[Any]] = {"driver_id": [7, 8]}
    assert computed([one], ["fare:out"], entities) == {"out": [5]}
    assert computed([one], ["fare:out"], entities, strict=True) == {"out": [5, 5]}


@pytest.mark.parametrize("values", [[5], [5, 6, 7]])
def test_where_answers_are_strict_a_column_is_as_long_as_there_are_rows(values: list[int]) -> None:
    def out(inputs: dict[str, Any]) -> dict[str, Any]:
        return {"out": values}

    one = on_demand("fare", out, {"out": INT64})
    entities: dict[str, list[Any]] = {"driver_id": [7, 8]}
    assert computed([one], ["fare:out"], entities) == {"out": values}
    with pytest.raises(TransformError, match="'fare' failed: ValueError"):
        computed([one], ["fare:out"], entities, strict=True)


def test_request_data_alone_is_enough() -> None:
    def out(inputs: dict[str, Any]) -> dict[str, Any]:
        return {"out": [value * value for value in inputs["value"]]}

    one = on_demand("square", out, {"out": INT64}, sources=[], asked={"value": INT64})
    assert computed([one], ["square:out"], {"value": [1, 2, 3]}) == {"out": [1, 4, 9]}
    with pytest.raises(RequestError) as caught:
        computed([one], ["square:out"], {"other": [1]})
    assert caught.value.status == 404


def test_what_has_not_begun_when_the_server_ends_is_not_begun() -> None:
    """Functions of a user's may take for ever; those in line behind them must not hold up the end as well."""
    inside = [threading.Event() for _ in range(THREADS)]
    go_on = threading.Event()
    ran: list[int] = []

    def waits(inputs: dict[str, Any]) -> dict[str, Any]:
        number = inputs["driver_id"][0]
        ran.append(number)
        if number < THREADS:
            inside[number].set()
            go_on.wait(10)
        return {"out": [number]}

    async def ending() -> None:
        transforms = Transforms()
        slow = on_demand("slow", lambda inputs: inputs, {"out": INT64})
        futures = []
        for number in range(THREADS + 1):
            plan, bound, rows = asked([slow], ["slow:out"], {"driver_id": [number]})
            (view,) = plan.computed
            # Not through the registry: events cannot be pickled.
            plan = replace(plan, computed=(view._replace(function=waits),))
            futures.append(transforms.compute(plan, bound, rows))
        for event in inside:
            assert await asyncio.to_thread(event.wait, 10)
        transforms.close()
        go_on.set()
        done = await asyncio.gather(*futures, return_exceptions=True)
        assert [type(one) for one in done] == [*[list] * THREADS, asyncio.CancelledError]

    asyncio.run(ending())
    assert sorted(ran) == list(range(THREADS))


def test_who_has_left_is_not_computed_for_and_the_queue_is_bounded() -> None:
    """The rows of a request that was given up are freed at once: the functions that run may never end."""
    go_on, begun, ran = threading.Event(), list[int](), list[int]()

    def waits(inputs: dict[str, list[Any]]) -> dict[str, Any]:
        (number,) = inputs["driver_id"]
        begun.append(number)
        assert go_on.wait(10)
        ran.append(number)
        return {"out": [number]}

    async def crowded() -> None:
        transforms = Transforms()
        slow = on_demand("slow", lambda inputs: inputs, {"out": INT64})

        class Watched(list[Any]):
            """What was read, which can be seen to be freed."""

        def compute(number: int) -> tuple[Computed, weakref.ref[Watched]]:
            plan, bound, rows = asked([slow], ["slow:out"], {"driver_id": [number]})
            (view,) = plan.computed
            plan = replace(plan, computed=(view._replace(function=waits),))
            watched = Watched(rows)
            return transforms.compute(plan, bound, watched), weakref.ref(watched)

        running = [compute(number)[0] for number in range(THREADS)]
        for _ in range(2):
            waiting = [compute(100 + number) for number in range(MAX_WAITING)]
            with pytest.raises(LimitError) as refused:
                compute(999)
            assert (refused.value.status, refused.value.headers) == (503, b"retry-after: 1\r\n")
            for future, _ in waiting:
                future.cancel()
            await asyncio.sleep(0)
            assert [read() for _, read in waiting] == [None] * MAX_WAITING
        eventually(lambda: len(begun) == THREADS or None, "all threads at work")
        running[0].cancel()  # it runs on, and its thread is free afterwards
        last = compute(77)[0]
        go_on.set()
        (column,) = await last
        assert column.values == [77]
        await asyncio.gather(*running[1:])
        transforms.close()

    asyncio.run(crowded())
    assert sorted(ran) == [*range(THREADS), 77]


def test_only_what_is_asked_for_comes_back_in_the_order_of_the_request() -> None:
    def out(inputs: dict[str, Any]) -> dict[str, Any]:
        return {"a": [1], "b": [2], "c": [3], "unknown": [object()]}

    one = on_demand("fare", out, {"a": INT64, "b": INT64, "c": INT64})
    assert list(computed([one], ["fare:c", "fare:a"], {"driver_id": [1]}).items()) == [("c", [3]), ("a", [1])]


@pytest.mark.parametrize("mode", ["python", "pandas"])
def test_a_function_that_changes_its_input_harms_nobody_else(mode: str) -> None:
    def vandal(inputs: Any) -> Any:
        for name in list(inputs):
            if hasattr(inputs, "loc"):
                inputs[name] = 0
            else:
                for value in inputs[name]:
                    if isinstance(value, list):
                        value.clear()
                inputs[name].clear()
        inputs["bad"] = [0]
        return inputs if hasattr(inputs, "loc") else {"bad": [0]}

    def victim(inputs: dict[str, Any]) -> dict[str, Any]:
        return {"out": [f"{inputs['driver_id']} {inputs['trips']} {inputs['tags']} {inputs['note']}"]}

    views = [
        on_demand("first", vandal, {"bad": INT64}, mode=mode, asked={"note": STRING}),
        on_demand("second", victim, {"out": STRING}, asked={"note": STRING}),
    ]
    tags = Value()
    tags.string_list_val.val.append("a")
    stored: Stored = {"trips": ints(5), "tags": [tags]}
    columns = computed(views, ["first:bad", "second:out"], {"driver_id": [7], "note": ["x"]}, stored)
    assert columns == {"bad": [0], "out": ["[7] [5] [['a']] ['x']"]}


def test_a_function_may_change_the_list_of_one_row_and_not_that_of_its_twin() -> None:
    def function(inputs: dict[str, Any]) -> dict[str, Any]:
        inputs["tags"][0].append("b")
        return {"out": [",".join(tags) for tags in inputs["tags"]]}

    tags = Value()
    tags.string_list_val.val.append("a")
    one = on_demand("fare", function, {"out": STRING})
    assert computed([one], ["fare:out"], {"driver_id": [7, 7]}, {"tags": [tags]}) == {"out": ["a,b", "a"]}


# ---------------------------------------------------------------------------------------------------- columns of frames

NAN, INF = math.nan, math.inf
NAT = -9223372036854775808


def when(*texts: str) -> list[Any]:
    return [pandas.Timestamp(text) for text in texts]


@pytest.mark.parametrize(
    ("value_type", "column", "expected"),
    [
        ("INT64", pandas.Series([1, 2]), [1, 2]),
        ("INT64", pandas.Series([1.0, NAN, 3.0]), [1, None, 3]),
        ("INT64", pandas.Series([1, None], dtype="Int64"), [1, None]),
        ("INT64", pandas.Series(["5", "6"]), [5, 6]),
        ("INT32", pandas.Series([1, 2], dtype="int8"), [1, 2]),
        ("DOUBLE", pandas.Series([0.5, NAN, INF]), [0.5, None, "Infinity"]),
        ("DOUBLE", pandas.Series([1, 2]), [1.0, 2.0]),
        ("FLOAT", pandas.Series([0.1, NAN]), [0.10000000149011612, None]),
        ("STRING", pandas.Series(["a", None]), ["a", None]),
        ("STRING", pandas.Series([1, 2]), ["1", "2"]),
        ("STRING", pandas.Series([1.0, NAN]), ["1.0", None]),
        ("STRING", pandas.Series(["a", "b"], dtype="category"), ["a", "b"]),
        ("BOOL", pandas.Series([True, False]), [True, False]),
        ("BOOL", pandas.Series([True, None], dtype="boolean"), [True, None]),
        ("BOOL", pandas.Series([1, 0]), [True, False]),
        ("BYTES", pandas.Series([b"\xff", None]), ["/w==", None]),
        ("UNIX_TIMESTAMP", pandas.Series(when("2024-01-02T03:04:05.6", "2024-01-02")), [1704164645, 1704153600]),
        ("UNIX_TIMESTAMP", pandas.Series([*when("2024-01-02"), pandas.NaT]), [1704153600, NAT]),
        ("UNIX_TIMESTAMP", pandas.Series([pandas.NaT, pandas.NaT]), [NAT, NAT]),
        ("UNIX_TIMESTAMP", pandas.Series(when("2024-01-02T03:04:05+02:00")), [1704157445]),
        ("UNIX_TIMESTAMP", pandas.Series(when("1969-12-31T23:59:58.5")), [-2]),
        ("UNIX_TIMESTAMP", pandas.Series([5, 6]), [5, 6]),
        ("UNIX_TIMESTAMP", pandas.Series([5.0, NAN]), [NAT, NAT]),
        ("INT64_LIST", pandas.Series([[1, 2], []]), [[1, 2], []]),
        ("INT32_LIST", pandas.Series([[1]]), [[1]]),
        ("DOUBLE_LIST", pandas.Series([[0.5, NAN], None]), [[0.5, "NaN"], None]),
        ("FLOAT_LIST", pandas.Series([[0.1]]), [[0.10000000149011612]]),
        ("STRING_LIST", pandas.Series([["a", None]]), [["a", ""]]),
        ("BOOL_LIST", pandas.Series([[True, False]]), [[True, False]]),
        ("BYTES_LIST", pandas.Series([[b"x"]]), [["eA=="]]),
        ("INT64_SET", pandas.Series([[1, 1]]), [[1]]),
        ("MAP", pandas.Series([{"a": 1}, {"a": None}]), [{"a": 1.0}, {"a": None}]),
        ("STRUCT", pandas.Series([{"a": 1}]), [{"a": 1}]),
        ("JSON", pandas.Series(['{"a": 1}', None]), ['{"a": 1}', None]),
        ("VALUE_LIST", pandas.Series([[[1, 2], []]]), [[[1, 2], None]]),
        ("DECIMAL", pandas.Series([Decimal("1.50")]), ["1.50"]),
        ("UUID", pandas.Series(["x", None]), ["x", None]),
    ],
)
def test_columns_of_a_frame_come_out_as_in_feast(value_type: str, column: Any, expected: list[Any]) -> None:
    def out(inputs: Any) -> Any:
        return type(inputs)({"out": column})

    one = on_demand("fare", out, {"out": ValueType[value_type]}, mode="pandas")
    columns = computed([one], ["fare:out"], {"driver_id": list(range(len(column)))})
    assert repr(columns["out"]) == repr(expected)


# ------------------------------------------------------------------------------------------------------ what goes wrong

SECRET = "the password is swordfish"


def test_a_function_that_raises_is_named_and_its_text_is_in_the_log_alone(caplog: pytest.LogCaptureFixture) -> None:
    def value_error(inputs: Any) -> Any:
        raise ValueError(SECRET)

    def stop(inputs: Any) -> Any:
        raise StopIteration(SECRET)

    def leave(inputs: Any) -> Any:
        raise SystemExit(SECRET)

    def interrupt(inputs: Any) -> Any:
        raise KeyboardInterrupt(SECRET)

    for function, name in (
        (value_error, "ValueError"),
        (stop, "StopIteration"),
        (leave, "SystemExit"),
        (interrupt, "KeyboardInterrupt"),
    ):
        for mode in ("python", "pandas"):
            caplog.clear()
            one = on_demand("fare", function, {"out": INT64}, mode=mode)
            with caplog.at_level(logging.ERROR, "yummy_fast"), pytest.raises(TransformError) as caught:
                computed([one], ["fare:out"], {"driver_id": [1]})
            assert str(caught.value) == f"On-demand feature view 'fare' failed: {name}"
            assert (caught.value.status, SECRET.encode() in caught.value.body()) == (500, False)
            (entry,) = caplog.records
            assert entry.getMessage() == "on-demand feature view fare failed"
            assert SECRET in caplog.text


@pytest.mark.parametrize("mode", ["python", "pandas"])
@pytest.mark.parametrize(
    ("kind", "values", "words"),
    [
        (
            INT64,
            [None, "abc"],
            "entities.bonus[1]: expected an integer, which on-demand feature view 'fare' declares, got \"abc\"",
        ),
        (ValueType.DOUBLE, ["5", "6"], "entities.bonus[0]: expected a number, which on-demand feature view"),
        (ValueType.BOOL, [[True], [False]], "entities.bonus[0]: expected true or false, which"),
        (ValueType.STRING, [5, 6], "entities.bonus[0]: expected text, which"),
    ],
)
def test_a_function_that_fails_by_the_callers_mistake(
    mode: str, kind: ValueType, values: list[Any], words: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Feast 0.67 hands on what comes, and answers 500 if the function fails. Clients ask again for a 500."""

    def failing(inputs: Any) -> Any:
        inputs["bonus"] = [0, 0]  # and what has come is gone
        raise TypeError(SECRET)

    one = on_demand("fare", failing, {"out": INT64}, asked={"bonus": kind}, mode=mode)
    with pytest.raises(RequestError) as caught:
        computed([one], ["fare:out"], {"driver_id": [1, 2], "bonus": values})
    assert str(caught.value).startswith(words)
    assert not caplog.records  # whoever asks could fill the log


def test_a_function_may_take_another_type_than_is_declared() -> None:
    def out(inputs: dict[str, Any]) -> dict[str, Any]:
        return {"out": [int(value) for value in inputs["bonus"]]}

    one = on_demand("fare", out, {"out": INT64}, asked={"bonus": INT64})
    assert computed([one], ["fare:out"], {"driver_id": [1], "bonus": ["5"]}) == {"out": [5]}


@pytest.mark.parametrize(
    ("mode", "returned", "error"),
    [
        ("python", "None", "TypeError"),
        ("python", "{}", "KeyError"),
        ("python", "{'out': ['x']}", "ValueError"),
        ("python", "{'out': [2**63]}", "OverflowError"),
        ("python", "{'out': [object()]}", "TypeError"),
        ("pandas", "None", "AttributeError"),
        ("pandas", "inputs[[]]", "KeyError"),
        ("pandas", "{'out': [1]}", "AttributeError"),
    ],
)
def test_what_cannot_be_answered_is_the_functions_fault(mode: str, returned: str, error: str) -> None:
    namespace: dict[str, Any] = {"__name__": "__main__"}
    exec(f"def f(inputs): return {returned}", namespace)
    one = on_demand("fare", namespace["f"], {"out": INT64}, mode=mode)
    with pytest.raises(TransformError, match=r"^On-demand feature view 'fare' failed: [A-Za-z]+$") as caught:
        computed([one], ["fare:out"], {"driver_id": [1]})
    assert str(caught.value).endswith(error)


# ----------------------------------------------------------------------------------------------------- a server process


def with_views(folder: Path, *views: messages.OnDemandFeatureView, earlier: Sequence[int] = ()) -> Path:
    """The corpus's repository with more on-demand views; each of them had also the versions `earlier`."""
    registry = messages.Registry.FromString((folder / "registry.db").read_bytes())
    registry.on_demand_feature_views.extend(views)
    for one in views:
        for version in earlier:
            registry.feature_view_version_history.records.add(
                feature_view_name=one.spec.name,
                project_id=one.spec.project,
                version_number=version,
                feature_view_type="on_demand_feature_view",
                feature_view_proto=one.SerializeToString(),
            )
    (folder / "registry.db").write_bytes(registry.SerializeToString())
    return folder


TRIPS = view("driver_stats", ["driver"], {"driver_id": INT64}, {"trips": INT64}, project="corpus")


def of_corpus(name: str, function: Callable[..., Any] | bytes, **more: Any) -> messages.OnDemandFeatureView:
    return on_demand(name, function, {f"{name}_out": INT64}, sources=[TRIPS], project="corpus", **more)


def good_function() -> Callable[..., Any]:
    def function(inputs: dict[str, Any]) -> dict[str, Any]:
        return {"good_out": [trips + 10 for trips in inputs["trips"]]}

    return function


@contextlib.contextmanager
def server_with_tracebacks(folder: Path) -> Iterator[Server]:
    """A server whose log may hold tracebacks: functions of the user's raise in it."""
    server = Server(folder)
    try:
        yield server
    finally:
        Process.__exit__(server, None, None, None)


def asking(feature: str, **entities: list[Any]) -> dict[str, Any]:
    return {"features": [feature], "entities": {"driver_id": [1002], **entities}}


def test_a_view_that_cannot_be_loaded_harms_no_other_and_is_told_once(corpus: Path) -> None:
    """Its versions of before are there as well, and are not told about."""
    version = next(version for version in PICKLES if version != RUNNING)
    bad = of_corpus("bad", base64.b64decode(PICKLES[version]["rows"]))
    with Server(with_views(corpus, of_corpus("good", good_function()), bad, earlier=[0, 1])) as server:
        for _ in range(2):
            answer = server.ask("/get-online-features", asking("good:good_out"))
            assert (answer.status, answer.columns) == (200, {"driver_id": [1002], "good_out": [11]})
            answer = server.ask("/get-online-features", asking("bad:bad_out"))
            message = f"On-demand feature view 'bad' cannot be served: {OTHER_VERSION}"
            assert (answer.status, answer.json) == (400, message)
        assert server.features([1002]).columns["trips"] == [1]
        (line,) = [line for line in server.lines if "'bad'" in line]
        assert line.endswith(message)
    assert not re.search(r"good.*cannot be served", server.log)


def test_functions_that_raise_or_exit_harm_no_other_request(corpus: Path) -> None:
    def function(inputs: dict[str, Any]) -> dict[str, Any]:
        if inputs["how"] == ["exit"]:
            raise SystemExit(SECRET)
        raise ValueError(SECRET)

    views = (of_corpus("good", good_function()), of_corpus("bad", function, asked={"how": STRING}))
    with server_with_tracebacks(with_views(corpus, *views)) as server, server.client() as client:
        for how, name in (("raise", "ValueError"), ("exit", "SystemExit")):
            bad = request("/get-online-features", asking("bad:bad_out", how=[how]), "POST")
            fine = request("/get-online-features", asking("good:good_out"), "POST")
            client.send(bad + fine + bad)
            answers = [client.answer() for _ in range(3)]
            assert [answer.status for answer in answers] == [500, 200, 500]
            assert answers[1].columns["good_out"] == [11]
            assert answers[0].json == answers[2].json == f"On-demand feature view 'bad' failed: {name}"
        assert server.ask("/health").status == 200
        assert SECRET in server.log


def test_functions_that_wait_hold_up_nobody_but_their_own_requests(corpus: Path, tmp_path: Path) -> None:
    """As many as there are threads for them wait for a pipe that nobody writes to; all else is served meanwhile."""

    def function(inputs: dict[str, Any]) -> dict[str, Any]:
        out = []
        for path in inputs["path"]:
            with open(path, encoding="ascii") as pipe:  # returns when somebody opens the other end
                out.append(int(pipe.read()))  # ... and this when that end is closed
        return {"slow_out": out}

    pipes = [tmp_path / f"pipe{place}" for place in range(THREADS)]
    for path in pipes:
        os.mkfifo(path)

    def opened(path: Path) -> int | None:
        return os.open(path, os.O_WRONLY | os.O_NONBLOCK)  # raises ENXIO while nobody reads

    slow = of_corpus("slow", function, asked={"path": STRING})
    with Server(with_views(corpus, slow)) as server, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(server.client()) for _ in pipes]
        for client, path in zip(clients, pipes, strict=True):
            client.send(request("/get-online-features", asking("slow:slow_out", path=[str(path)]), "POST"))
        ends = [eventually(functools.partial(opened, path), "the function to open its pipe") for path in pipes]
        try:
            assert server.ask("/health").status == 200
            assert server.features([1002]).columns["trips"] == [1]
            for client in clients:
                client.socket.setblocking(False)
                with pytest.raises(BlockingIOError):
                    client.socket.recv(1)
                client.socket.settimeout(20)
            for place, end in enumerate(ends):
                os.write(end, str(place).encode())
        finally:
            for end in ends:
                os.close(end)
        for place, client in enumerate(clients):
            assert client.answer().columns["slow_out"] == [place]


# ------------------------------------------------------------------------------------------ views that are written


def written(
    function: Callable[[Any], Any],
    columns: Mapping[str, Any],
    rows: int,
    mode: str = "python",
    *,
    singleton: bool = False,
) -> tuple[dict[str, Any], int]:
    on_demand = replace(OnDemandFeatureView("fare", (), (), (), mode, b""), singleton=singleton)
    query = WriteQuery("fare", dict(columns), rows, True, "online", True)
    found = compute_written(on_demand, function, ["driver_id"], query)
    return dict(found.columns), found.rows


# What comes back is what FeatureStore._transform_on_demand_feature_view_df (Feast 0.67.0) makes of the same frames.


def test_what_came_is_written_with_what_was_made_of_it() -> None:
    def double(inputs: dict[str, Any]) -> dict[str, Any]:
        return {"doubled": [trips * 2 for trips in inputs["trips"]], "city": ["made"] * 2}

    columns = {"driver_id": [1, 2], "trips": [3, 4], "city": "given"}
    assert written(double, columns, 2) == (
        {"driver_id": [1, 2], "trips": [3, 4], "city": ["made", "made"], "doubled": [6, 8]},
        2,
    )


def test_other_rows_are_joined_by_their_keys() -> None:
    """A text in pieces: each keeps what came with its key."""

    def pieces(inputs: dict[str, Any]) -> dict[str, Any]:
        return {"driver_id": [1, 1, 2], "piece": ["a", "b", "c"]}

    assert written(pieces, {"driver_id": [1, 2], "city": ["x", "y"]}, 2) == (
        {"driver_id": [1, 1, 2], "piece": ["a", "b", "c"], "city": ["x", "x", "y"]},
        3,
    )


def test_a_singleton_gets_a_row_at_a_time() -> None:
    def one(inputs: dict[str, Any]) -> dict[str, Any]:
        return {"doubled": [inputs["trips"] * 2]}

    assert written(one, {"driver_id": [1, 2], "trips": [3, 4]}, 2, singleton=True)[0]["doubled"] == [6, 8]


def test_a_frame_is_written_with_its_columns() -> None:
    def framed(frame: pandas.DataFrame) -> pandas.DataFrame:
        made = pandas.DataFrame()
        made["half"] = frame["trips"] / 2
        made["when"] = pandas.to_datetime(["2026-01-01", None])
        made["vector"] = [[1.0], [2.0]]
        return made

    columns, rows = written(framed, {"driver_id": [1, 2], "trips": [3, 4]}, 2, "pandas")
    assert rows == 2
    assert columns == {
        "driver_id": [1, 2],
        "trips": [3, 4],
        "half": [1.5, 2.0],
        "when": ["2026-01-01T00:00:00", None],
        "vector": [[1.0], [2.0]],
    }


def test_a_function_that_raises_fails_its_push(caplog: pytest.LogCaptureFixture) -> None:
    def failing(inputs: dict[str, Any]) -> dict[str, Any]:
        raise KeyError("secret")

    with pytest.raises(TransformError, match=r"^On-demand feature view 'fare' failed: KeyError$"):
        written(failing, {"driver_id": [1]}, 1)
    with pytest.raises(TransformError):
        written(lambda inputs: {"a": [1], "b": [1, 2]}, {"driver_id": [1]}, 1)
