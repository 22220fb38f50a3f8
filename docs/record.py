"""Record the live view of a real rollout as a moving picture: `make recording` writes docs/live.svg."""

import io
import re
from pathlib import Path

from rich.console import Console

from rollout.cli import demo
from rollout.cli.console import view
from rollout.core.attempt import Attempt

SECONDS_A_FRAME = 1.5
FORMAT = """<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>.{unique_id}-matrix {{ font-family: monospace; font-size: {char_height}px; line-height: {line_height}px; }}
{styles}</style>
<defs><clipPath id="{unique_id}-clip-terminal"><rect width="{terminal_width}" height="{terminal_height}" /></clipPath>
{lines}</defs>
<rect width="{width}" height="{height}" rx="8" fill="#0c0c0c" />
<g transform="translate({terminal_x}, 8)" clip-path="url(#{unique_id}-clip-terminal)">{backgrounds}
<g class="{unique_id}-matrix">{matrix}</g></g></svg>"""


def main() -> None:
    """Play the demo's bad release and draw each change of what its terminal shows."""
    frames: list[str] = []
    last = ""

    def tell(attempt: Attempt | None, notice: str = "") -> None:
        nonlocal last
        said = f"{attempt.phase}{attempt.weight}{attempt.message}{attempt.last}" if attempt else notice
        if said != last:
            last = said
            frames.append(_frame(attempt, notice, len(frames)))

    print(demo.told(demo.play("errors", 500, 10.0, tell, print)))
    (Path(__file__).parent / "live.svg").write_text(_moving(frames))


def _frame(attempt: Attempt | None, notice: str, number: int) -> str:
    console = Console(record=True, width=92, file=io.StringIO(), force_terminal=True)
    console.print(view(attempt, notice))
    return console.export_svg(title="", code_format=FORMAT, unique_id=f"f{number}")


def _moving(frames: list[str]) -> str:
    """All frames above each other, shown one after another, for ever."""
    boxes = [tuple(map(float, re.findall(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', frame)[0])) for frame in frames]
    width, height = max(w for w, _ in boxes), max(h for _, h in boxes)
    total, share = SECONDS_A_FRAME * len(frames), 100 / len(frames)
    hidden = f"{share:.2f}% {{ visibility: visible }} {share + 0.01:.2f}%, 100% {{ visibility: hidden }}"
    style = (
        f"@keyframes show {{ 0%, {hidden} }}\n"
        f".frame {{ visibility: hidden; animation: show {total}s step-end infinite }}"
    )
    shown = []
    for i, (frame, (w, h)) in enumerate(zip(frames, boxes, strict=True)):
        sized = frame.replace("<svg ", f'<svg width="{w}" height="{h}" ', 1)
        shown.append(f'<g class="frame" style="animation-delay: {SECONDS_A_FRAME * i}s">{sized}</g>')
    head = f'<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">'
    return "\n".join([head, f"<style>{style}</style>", *shown, "</svg>\n"])


if __name__ == "__main__":
    main()
