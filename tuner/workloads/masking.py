"""Blanks secrets in what a script prints or logs. No other file does.

A secret is, of the script's environment,

- the value of a variable that is named like one: …KEY, …TOKEN, …SECRET, …PASSWORD, …CREDENTIALS;
- the value of a variable that the study file passes on as an argument, `${envvar:X}`, unless it is a path;
- the value of a variable that is named like an address with a key in it: …DSN, …WEBHOOK…, …CONNECTION_STRING;
- a URL that holds a password or a key, whatever its variable is called, and the password or key alone;
- the password of a libpq or ODBC address (`host=db password=…`), and that alone;

and in any text the password of a URL, and its keys (`?token=…`). Secrets are found as they are, line by line,
and as JSON, a URL or Python's `repr` write them.

Only the standard library: `keeper` loads this file by its path, into a Python of its own.
"""

from __future__ import annotations

import json
import re
import urllib.parse
from collections.abc import Collection, Iterator, Mapping
from typing import Any

BLANK = "***"
SECRET_NAME = re.compile(
    r"KEY|TOKEN|SECRET|PASSW|PASSPHRASE|CREDENTIAL|DSN|WEBHOOK|CONN(ECTION)?_?STR", re.IGNORECASE
)
SURE_NAME = re.compile(r"(^|_)(KEY|TOKEN|SECRET)$|API_?KEY|PASSWORD|PASSWD", re.IGNORECASE)
LONG = 8  # characters; a shorter value is blanked only as a whole word, and only where the name is sure
SHORTEST = 4
ORDINARY = frozenset({"true", "false", "none", "null", "auto", "default"})
URL = re.compile(r"[A-Za-z][\w+.-]*://([^:/@]*):(.*)@", re.DOTALL)
ADDRESS = re.compile(
    r"(?:^|[\s;])(?:password|passwd|pwd|pass)\s*=\s*(?:'([^']*)'|\"([^\"]*)\"|([^\s;]+))", re.I
)
_QUERY = r"[?&](?:[\w-]{0,40}(?:password|token|secret|api_?key|signature)|sig|key)="
KEY_IN_URL = re.compile(_QUERY + r"([^&\s#]+)", re.IGNORECASE)
KEY_IN_TEXT = re.compile(rb"(" + _QUERY.encode() + rb")[^&\s#'\"]+", re.IGNORECASE)
URL_IN_TEXT = re.compile(rb"([A-Za-z][\w+.-]{0,30}://[^\s:/@'\"]*:)[^\s/'\"]+@")


class Mask:
    """Blanks the secrets of a script's `environment`; `passed`: names of variables that became arguments."""

    def __init__(self, environment: Mapping[str, str], passed: Collection[str] = ()) -> None:
        whole, words = set[str](), set[str]()
        for name, value in environment.items():
            for secret in _secrets(name, value, passed=name in passed):
                (whole if len(secret) >= LONG else words).update(_forms(secret))
        parts = [re.escape(secret) for secret in sorted(whole, key=len, reverse=True)]
        parts += [rf"(?<!\w){re.escape(secret)}(?!\w)" for secret in sorted(words, key=len, reverse=True)]
        self._secrets = re.compile("|".join(parts).encode()) if parts else None
        self.longest = max(map(len, (form.encode() for form in whole | words)), default=0)

    def data(self, data: bytes) -> bytes:
        if self._secrets is not None:
            data = self._secrets.sub(BLANK.encode(), data)
        if b"://" not in data:
            return data
        data = URL_IN_TEXT.sub(rb"\1" + BLANK.encode() + b"@", data)
        return KEY_IN_TEXT.sub(rb"\1" + BLANK.encode(), data)

    def text(self, text: str) -> str:
        return self.data(text.encode("utf-8", "surrogateescape")).decode("utf-8", "surrogateescape")


def _secrets(name: str, value: str, *, passed: bool) -> Iterator[str]:
    """The secrets in one variable."""
    plain = value.strip()
    if plain.lower() in ORDINARY or len(plain) < SHORTEST:
        return
    if found := URL.match(plain):
        yield plain
        if len(found[2]) >= LONG:
            yield found[2]
    inside = [part for parts in ADDRESS.findall(plain) for part in parts]
    inside += KEY_IN_URL.findall(plain) if "://" in plain else []
    for secret in inside:
        if len(secret) >= SHORTEST:
            yield plain
            yield secret
    if len(plain) < LONG:
        if SURE_NAME.search(name) and not plain.isdigit():
            yield plain
    elif SECRET_NAME.search(name) or (passed and plain[0] not in "/.~"):
        yield plain
        yield from (line.strip() for line in plain.splitlines() if len(line.strip()) >= LONG)


def _forms(secret: str) -> set[str]:
    """A secret as it is, and as it is written in JSON, a URL or Python's `repr`."""
    forms = {secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
    forms |= {repr(secret)[1:-1], urllib.parse.quote(secret), urllib.parse.quote(secret, safe="")}
    forms |= {urllib.parse.quote_plus(secret), urllib.parse.unquote(secret)}
    return {form for form in forms if len(form) >= SHORTEST}


def masked(value: Any, mask: Mask) -> Any:
    """`value` with every text in it blanked; a structure of JSON."""
    if isinstance(value, str):
        return mask.text(value)
    if isinstance(value, Mapping):
        return {masked(name, mask): masked(item, mask) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [masked(item, mask) for item in value]
    return value
