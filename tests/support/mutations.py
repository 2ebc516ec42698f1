"""What may happen to a file: bits flip, ends are lost, parts repeat or move, numbers and types are other ones."""

import copy
import json

HUGE = 10**400
DEEP = "[" * 200 + "]" * 200

ODD_VALUES = [
    None, True, False, 0, 1, -1, 2**31, 2**63, -(2**63) - 1, HUGE, 0.5, -0.0, 1e308, float("nan"), float("inf"),
    "", "a", "0", "nan", "\ud800", "\0", "x" * 5000, "../../a", "=1+1", "<b>", [], {}, [[]], [1, 2, 3], {"a": 1},
]  # fmt: skip
ODD_TEXTS = [
    b"\xff\xfe", b"\0" * 64, b"NaN", b"1e400", str(HUGE).encode(), DEEP.encode(), b"{[]:1}", b"\\ud800", b"\r\n", b'"',
    b"-1", b"99999999999999999999", b",", b"}{", b"\x80", b"null",
]  # fmt: skip


def bytes_mutated(rng, data):
    """Return `data` with one to three things wrong anywhere."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        data = rng.choice(_BYTEWISE)(rng, data)
    return data


def json_mutated(rng, value):
    """Return JSON text of `value` with one to three values of other types, gone, doubled or nested."""
    value = copy.deepcopy(value)
    for _ in range(rng.choice((1, 1, 2, 3))):
        value = _odd_somewhere(rng, value)
    text = json.dumps(value)
    if rng.random() < 0.05:
        text = text.replace(": ", f": {DEEP}, ", 1)
    if rng.random() < 0.05 and text.startswith("{"):
        text = text[:-1] + ", " + text[1:]  # every name twice
    return text


def text_mutated(rng, text):
    """Return a short text, such as one typed, with something wrong in it."""
    return bytes_mutated(rng, text.encode()).decode("utf-8", "surrogateescape")


def _place(rng, data):
    return rng.randrange(len(data) + 1)


def _span(rng, data, longest=64):
    start = _place(rng, data)
    return start, min(len(data), start + rng.randrange(1, longest + 1))


def _flipped(rng, data):
    if not data:
        return data
    place = rng.randrange(len(data))
    return data[:place] + bytes([data[place] ^ (1 << rng.randrange(8))]) + data[place + 1 :]


def _cut(rng, data):
    return data[: _place(rng, data)]


def _removed(rng, data):
    start, end = _span(rng, data)
    return data[:start] + data[end:]


def _repeated(rng, data):
    start, end = _span(rng, data)
    return data[:end] + data[start:end] * rng.randrange(1, 5) + data[end:]


def _moved(rng, data):
    start, end = _span(rng, data)
    place = _place(rng, data)
    return data[:place] + data[start:end] + data[place:]


def _zeroed(rng, data):
    start, end = _span(rng, data, 512)
    return data[:start] + b"\0" * (end - start) + data[end:]


def _zeroed_tail(rng, data):
    place = _place(rng, data)
    return data[:place] + b"\0" * (len(data) - place)


def _odd_text(rng, data):
    start, end = _span(rng, data, 8)
    return data[:start] + rng.choice(ODD_TEXTS) + data[end:]


def _odd_number(rng, data):
    """Replace a digit, where there is one, by a number that is none of those expected."""
    digits = [place for place, byte in enumerate(data[:4000]) if byte in b"0123456789"]
    if not digits:
        return _odd_text(rng, data)
    place = rng.choice(digits)
    return data[:place] + rng.choice(ODD_TEXTS) + data[place + 1 :]


_BYTEWISE = [
    _flipped, _flipped, _cut, _removed, _repeated, _moved, _zeroed, _zeroed_tail, _odd_text, _odd_number,
]  # fmt: skip


def _odd_somewhere(rng, value):
    """Walk down at random, and change what is there."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        name = rng.choice(list(value))
        kind = rng.random()
        if kind < 0.1:
            return {key: item for key, item in value.items() if key != name}
        if kind < 0.2:
            return {**value, rng.choice(["", "x" * 2000, "__metadata__", "\0", name + "_"]): value[name]}
        return {**value, name: _odd_somewhere(rng, value[name])}
    if isinstance(value, list) and value and rng.random() < 0.8:
        place = rng.randrange(len(value))
        kind = rng.random()
        if kind < 0.15:
            return value[:place] + value[place + 1 :]
        if kind < 0.3:
            return value + value[place:]
        return [*value[:place], _odd_somewhere(rng, value[place]), *value[place + 1 :]]
    return rng.choice(ODD_VALUES)
