"""Panels of horizontal bars as SVG, by hand: no library of this project draws, and this is all that is needed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Sequence

_WIDTH: Final = 960
_PANEL: Final = _WIDTH // 2
_LABELS: Final = 186
_VALUES: Final = 70
_ROW: Final = 26
_HEAD: Final = 56
_OURS, _THEIRS, _LIMIT = "#1f6feb", "#9aa4b2", "#2da44e"


@dataclass(frozen=True)
class Bar:
    """One figure; `kind` is ours, theirs or limit."""

    label: str
    value: float
    shown: str
    kind: str = "ours"


@dataclass(frozen=True)
class Panel:
    """Figures of one unit. Bars longer than `cut` are broken: their number tells."""

    title: str
    subtitle: str
    bars: Sequence[Bar]
    cut: float = 0.0


def drawn(panels: Sequence[Panel]) -> str:
    """The picture, two panels a line."""
    body, top = list[str](), 16
    for pair in (panels[at : at + 2] for at in range(0, len(panels), 2)):
        for column, panel in enumerate(pair):
            body += _panel(panel, column * _PANEL + 24, top)
        top += _HEAD + _ROW * max(len(panel.bars) for panel in pair) + 28
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {top}" width="{_WIDTH}" height="{top}" '
            'font-family="system-ui, -apple-system, Segoe UI, DejaVu Sans, sans-serif" font-size="13">',
            f'<rect width="{_WIDTH}" height="{top}" fill="#ffffff"/>',
            *body,
            "</svg>\n",
        ]
    )


def _panel(panel: Panel, left: int, top: int) -> list[str]:
    room = _PANEL - 48 - _LABELS - _VALUES
    most = panel.cut or max((bar.value for bar in panel.bars), default=1.0) or 1.0
    lines = [
        f'<text x="{left}" y="{top + 16}" font-size="16" font-weight="600" fill="#1f2328">{escape(panel.title)}</text>',
        f'<text x="{left}" y="{top + 36}" fill="#59636e">{escape(panel.subtitle)}</text>',
    ]
    for row, bar in enumerate(panel.bars):
        y = top + _HEAD + row * _ROW
        length = max(2.0, room * min(bar.value / most, 1.0))
        at = left + _LABELS
        colour = {"ours": _OURS, "theirs": _THEIRS, "limit": _LIMIT}[bar.kind]
        lines += [
            f'<text x="{at - 8}" y="{y + 14}" text-anchor="end" fill="#1f2328">{escape(bar.label)}</text>',
            f'<rect x="{at}" y="{y + 2}" width="{length:.1f}" height="16" rx="2" fill="{colour}"/>',
        ]
        if bar.value > most:  # broken: a gap near its end
            x = at + length - 18
            lines.append(f'<path d="M{x} {y + 20}l6 -20h5l-6 20z" fill="#ffffff"/>')
        lines.append(f'<text x="{at + length + 6:.1f}" y="{y + 14}" fill="#1f2328">{escape(bar.shown)}</text>')
    return lines
