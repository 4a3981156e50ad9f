"""Makes the pictures of README.md and docs/ from a real run of the guided demo: `make pictures`.

    python docs/pictures.py            # all
    python docs/pictures.py RESULTS    # of a demo that was run already: the terminal's picture stays

Everything shown is made from the built-in simulator. Needs chromium for the picture of the report.
"""

from __future__ import annotations

import io
import os
import pty
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image
from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).parents[1]
PICTURES = ROOT / "docs" / "pictures"
WIDTH, HEIGHT = 100, 30  # characters
FRAMES = 16  # of the terminal's picture
SECONDS = 1.2  # that a frame is shown; the last one three times as long
REPORT = (1400, 1000)  # pixels
BUNDLE, RECORDING = "tour", "recordings/pocket_007_aligned.csv.gz"
_CONTROL = re.compile(rb"\x1b\[([?\d;]*)([A-Za-z])|\r|\n|\x1b[=>]")
# a screen; rich's own form fetches a font from another server
SVG = """\
<g data-size="{terminal_width} {terminal_height}"><style>{styles} .{unique_id}-matrix {{ font-family: Menlo,
Consolas, "DejaVu Sans Mono", monospace; font-size: {char_height}px; }}</style><defs>{lines}</defs>
<rect width="{terminal_width}" height="{terminal_height}" fill="#292929"/>{backgrounds}
<g class="{unique_id}-matrix">{matrix}</g></g>"""


def main(results: Path | None) -> None:
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        if results is None:
            shown = record(["-m", "tuner", "tour"], Path(scratch))
            (PICTURES / "terminal.svg").write_text(animated(shown))
            results = Path(scratch) / "results" / "tour"
        toolpath(results, PICTURES / "toolpath.svg")
        report(results, Path(scratch), PICTURES / "report.png")
    subprocess.run([sys.executable, ROOT / "docs" / "draw_architecture.py"], check=True)


# -- a terminal


@dataclass
class Screen:
    """The lines of a terminal, as far as rich's output needs: colours, lines up, clearing a line.

    Attributes:
        lines: bytes with their colours; those that have scrolled away included.
    """

    lines: list[bytes] = field(default_factory=lambda: [b""])
    row: int = 0

    def feed(self, data: bytes) -> None:
        at = 0
        for match in _CONTROL.finditer(data):
            self._write(data[at : match.start()])
            at = match.end()
            if match[0] == b"\n":
                self.row += 1
                if self.row == len(self.lines):
                    self.lines.append(b"")
            elif match[2] == b"A":
                self.row = max(0, self.row - int(match[1] or 1))
            elif match[2] in (b"K", b"J"):
                self.lines[self.row] = b""
            elif match[2] == b"m":
                self._write(match[0])
        self._write(data[at:])

    def _write(self, text: bytes) -> None:
        self.lines[self.row] += text

    def shown(self) -> list[Text]:
        """What is on the screen; lines that are too long are broken, as a terminal does."""
        lines: list[Text] = []
        for line in self.lines:
            text = Text.from_ansi(line.decode(errors="replace"))
            lines += text.divide(range(WIDTH, len(text), WIDTH))
        while len(lines) > HEIGHT and not lines[-1].plain.strip():
            lines.pop()
        return lines[-HEIGHT:]


def record(command: Sequence[str], folder: Path) -> list[list[Text]]:
    """Runs a command of Python in a terminal; returns the screens that it showed, one for each change."""
    leader, follower = pty.openpty()
    environment = {
        **os.environ, "COLUMNS": str(WIDTH), "LINES": str(HEIGHT), "TERM": "xterm-256color",
        "COLORTERM": "truecolor", "PYTHONPATH": str(ROOT),
    }  # fmt: skip
    running = subprocess.Popen(
        [sys.executable, *command], cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=follower,
        stderr=follower,
    )  # fmt: skip
    os.close(follower)
    screen, shown = Screen(), []
    while data := _read(leader):
        screen.feed(data)
        if not shown or shown[-1] != screen.shown():
            shown.append(screen.shown())
    if running.wait():
        sys.exit("\n".join(["the demo failed:", *(line.plain for line in screen.shown())]))
    return shown


def _read(leader: int) -> bytes:
    """What comes within a moment, so that no half-drawn screen is kept."""
    try:
        data = os.read(leader, 1 << 16)
        time.sleep(0.05)
        os.set_blocking(leader, False)
        data += os.read(leader, 1 << 16)
    except BlockingIOError:
        pass
    except OSError:  # the program has ended
        return b""
    finally:
        os.set_blocking(leader, True)
    return data


def animated(shown: Sequence[Sequence[Text]]) -> str:
    """The screens as one SVG that shows them in turn; the last one where nothing should move."""
    count = min(FRAMES, len(shown))
    chosen = [shown[round(place * (len(shown) - 1) / max(1, count - 1))] for place in range(count)]
    total = (count + 2) * SECONDS
    frames = [drawn(lines, f"f{place}") for place, lines in enumerate(chosen)]
    size = re.search(r'data-size="([\d.]+) ([\d.]+)"', frames[0])
    assert size is not None
    rules = []
    for place in range(count):
        begin, end = (100 * at * SECONDS / total for at in (place, place + 1))
        end = 100 if place == count - 1 else end
        hidden = f"0%, {begin - 0.01:.2f}% {{ opacity: 0 }} " if place else ""
        after = f"{end + 0.01:.2f}%, 100% {{ opacity: 0 }}" if end < 100 else ""
        rules.append(
            f"@keyframes k{place} {{ {hidden}{begin:.2f}%, {end:.2f}% {{ opacity: 1 }} {after} }} "
            f"#s{place} {{ animation: k{place} {total:.1f}s step-end infinite }}"
        )
    still = "@media (prefers-reduced-motion) { .screen { animation: none !important; opacity: 0 } "
    still += f"#s{count - 1} {{ opacity: 1 !important }} }}"
    screens = "\n".join(f'<g class="screen" id="s{place}">{frame}</g>' for place, frame in enumerate(frames))
    width, height = size.groups()
    return (
        f'<svg viewBox="-12 -12 {float(width) + 24:g} {float(height) + 24:g}" xmlns="http://www.w3.org/2000/svg">\n'
        f"<title>tuner tour</title>\n<style>{' '.join(rules)} {still}</style>\n"
        f'<rect x="-12" y="-12" width="100%" height="100%" rx="10" fill="#292929"/>\n{screens}\n</svg>\n'
    )


def drawn(lines: Sequence[Text], name: str) -> str:
    """A screen as SVG, by rich."""
    console = Console(
        record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, color_system="truecolor"
    )
    for line in [*lines, *[Text()] * (HEIGHT - len(lines))]:
        console.print(line, no_wrap=True, highlight=False)
    return console.export_svg(title="", code_format=SVG, unique_id=name)


# -- the tool path and the report


def toolpath(results: Path, target: Path) -> None:
    """The tool path that is decoded from the sensors of a simulated recording."""
    command = ["-m", "inference", "decode", results / RECORDING, "--bundle", BUNDLE, "--results", results]
    _python([*command, "--plot", target])


def report(results: Path, scratch: Path, target: Path) -> None:
    """The top of the report about a study, in a browser."""
    page = scratch / "report.html"
    _python(["-m", "tuner", "report", "--results", results, "--output", page])
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        sys.exit("the picture of the report needs chromium: apt install chromium")
    whole = scratch / "report.png"
    options = ["--headless", "--no-sandbox", "--hide-scrollbars", f"--window-size={REPORT[0]},{REPORT[1]}"]
    subprocess.run(
        [browser, *options, "--virtual-time-budget=5000", f"--screenshot={whole}", page.as_uri()],
        check=True, capture_output=True,
    )  # fmt: skip
    with Image.open(whole) as picture:
        picture.convert("RGB").quantize(128).save(target, optimize=True)


def _python(arguments: Sequence[str | Path]) -> None:
    subprocess.run(
        [sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
