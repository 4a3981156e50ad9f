"""Decides once per study whether its W&B runs go online, within a few seconds and with a reason."""

from __future__ import annotations

import base64
import configparser
import json
import netrc
import os
import threading
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Literal

Resolved = Literal["online", "offline", "off"]
Mode = Literal[Resolved, "auto"]

DEFAULT_SERVER = "https://api.wandb.ai"
PREFLIGHT_SECONDS = 4.0  # includes the name look-up, which socket timeouts do not limit


def resolve(mode: Mode) -> tuple[Resolved, str]:
    """Returns the mode to use, and the reason.

    "online" and "auto" look for a key (WANDB_API_KEY or netrc) and ask the server once whether it knows the
    key. If it does not answer, runs are written offline. "auto" also obeys WANDB_MODE.
    """
    if mode == "off":
        return "off", "W&B off: as requested"
    if mode == "offline":
        return "offline", "W&B offline: as requested"
    wished = os.environ.get("WANDB_MODE", "")
    if mode == "auto" and wished == "disabled":
        return "off", "W&B off: WANDB_MODE=disabled"
    if mode == "auto" and wished.startswith(("offline", "dryrun")):
        return "offline", f"W&B offline: WANDB_MODE={wished}"
    address = server()
    key = api_key(address)
    if key is None:
        return "offline", f"W&B offline: no key for {address} (`wandb login`, or WANDB_API_KEY)"
    problem = _preflight(address, key)
    if problem:
        return "offline", f"W&B offline: {address} {problem}; `tuner sync` uploads later"
    return "online", f"W&B online: {address}"


def server() -> str:
    """The W&B server's address: WANDB_BASE_URL, the client's settings file, or the public one."""
    if address := os.environ.get("WANDB_BASE_URL"):
        return address.rstrip("/")
    folder = Path(os.environ.get("WANDB_CONFIG_DIR", "~/.config/wandb")).expanduser()
    settings = configparser.ConfigParser()
    try:
        settings.read(folder / "settings")
    except configparser.Error:
        return DEFAULT_SERVER
    return settings.get("default", "base_url", fallback=DEFAULT_SERVER).rstrip("/")


def has_key() -> bool:
    """Whether this user has a key for W&B."""
    return api_key(server()) is not None


def api_key(address: str) -> str | None:
    """The key for the server at `address`, from WANDB_API_KEY or the netrc file that `wandb login` writes."""
    if key := os.environ.get("WANDB_API_KEY"):
        return key
    path = Path(os.environ.get("NETRC", "~/.netrc")).expanduser()
    try:
        found = netrc.netrc(path).authenticators(urllib.parse.urlsplit(address).hostname or "")
    except (OSError, netrc.NetrcParseError):
        return None
    return found[2] if found else None


def _preflight(address: str, key: str) -> str | None:
    """Asks the server whether it knows the key. Returns None if it does, otherwise the problem."""
    answer: list[str | None] = ["did not answer"]

    def ask() -> None:
        answer[0] = _ask_viewer(address, key)

    thread = threading.Thread(target=ask, daemon=True, name="wandb-preflight")
    thread.start()
    thread.join(PREFLIGHT_SECONDS)
    return f"did not answer in {PREFLIGHT_SECONDS:.0f} s" if thread.is_alive() else answer[0]


def _ask_viewer(address: str, key: str) -> str | None:
    login = base64.b64encode(f"api:{key}".encode()).decode()
    request = urllib.request.Request(
        f"{address}/graphql",
        data=json.dumps({"query": "query Viewer { viewer { id username entity } }"}).encode(),
        headers={"Authorization": f"Basic {login}", "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=PREFLIGHT_SECONDS) as reply:
            content = json.load(reply)
    except urllib.error.HTTPError as error:
        return "refused the key" if error.code in (401, 403) else f"answered with status {error.code}"
    except (OSError, ValueError) as error:
        return f"cannot be reached ({getattr(error, 'reason', error)})"
    return None if (content.get("data") or {}).get("viewer") else "does not know the key"
