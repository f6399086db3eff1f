"""ROC, precision–recall and calibration curves as SVG: small files without a script or a font."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from colorsys import hls_to_rgb
from dataclasses import dataclass

import numpy as np

from . import metrics

_SIDE, _MARGIN = 320, 44
_HUES = (205, 28, 120, 0, 271, 15, 318, 60, 185, 240)
# In hexadecimal: not every viewer of SVG reads `hsl()`.
_COLOURS = ["#" + "".join(f"{round(255 * part):02x}" for part in hls_to_rgb(hue / 360, 0.42, 0.65)) for hue in _HUES]


# What a model said of each part measured, by the part's name.
Parts = Mapping[str, metrics.Scored]


@dataclass(frozen=True)
class Line:
    """Points with x and y in [0, 1], under a name."""

    name: str
    x: np.ndarray
    y: np.ndarray
    marked: bool = False


def roc(parts: Parts, names: Sequence[str]) -> str:
    """Each label against all others, of each part; of two labels the positive one alone."""
    lines = []
    for name, ranked in _one_against_rest(parts, names):
        hits, misses = metrics.counts_down(ranked, np.ones(len(ranked.order)))
        lines.append(Line(name, np.append(0, misses / misses[-1]), np.append(0, hits / hits[-1])))
    return draw(_titled("ROC", parts), "1 − specificity", "sensitivity", lines, diagonal=True)


def precision_recall(parts: Parts, names: Sequence[str]) -> str:
    """Each label against all others, of each part; of two labels the positive one alone."""
    lines = []
    for name, ranked in _one_against_rest(parts, names):
        hits, misses = metrics.counts_down(ranked, np.ones(len(ranked.order)))
        lines.append(Line(name, hits / hits[-1], hits / (hits + misses)))
    return draw(_titled("Precision and recall", parts), "recall", "precision", lines, diagonal=False)


def calibration(parts: Parts) -> str:
    """Confidence against accuracy in 15 bins of equal mass, before and after calibration, of each part."""
    lines = []
    for part, scored in parts.items():
        for name, scores in (("as the model gives it", scored.raw), ("calibrated", scored.calibrated)):
            confidence, hit = metrics.confidence(scores, scored.labels)
            order = np.argsort(confidence, kind="stable")
            bins = [rows for rows in np.array_split(order, metrics.ECE_BINS) if len(rows)]
            x, y = (np.array([values[rows].mean() for rows in bins]) for values in (confidence, hit))
            lines.append(Line(name if len(parts) == 1 else f"{part}, {name}", x, y, marked=True))
            if scored.raw is scored.calibrated:
                break
    return draw(_titled("Calibration", parts), "confidence", "share that is right", lines, diagonal=True)


def _titled(title: str, parts: Parts) -> str:
    """One part is named by the title, several by their lines."""
    return f"{title}, {next(iter(parts))}" if len(parts) == 1 else title


def _one_against_rest(parts: Parts, names: Sequence[str]) -> Iterator[tuple[str, metrics.Ranking]]:
    for part, scored in parts.items():
        for label, name in enumerate(names):
            positive = scored.labels == label
            if (len(names) > 2 or label == 1) and 0 < positive.sum() < len(positive):
                called = name if len(parts) == 1 else part if len(names) == 2 else f"{part}, {name}"
                yield called, metrics.ranking(scored.calibrated[:, label], positive)


def draw(title: str, across: str, up: str, lines: Sequence[Line], diagonal: bool) -> str:
    """The picture; it says its title to a screen reader."""
    span, end = _SIDE - 2 * _MARGIN, _SIDE - _MARGIN
    # Room for the longest name, at about six units a letter.
    width = end + 32 + 6 * max((len(line.name) for line in lines), default=0)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {_SIDE}" role="img" '
        f'font-family="sans-serif" font-size="10"><title>{title}</title>',
        f'<rect width="{width}" height="{_SIDE}" fill="#fff"/>',
        f'<rect x="{_MARGIN}" y="{_MARGIN}" width="{span}" height="{span}" fill="none" stroke="#888"/>',
        f'<text x="{_SIDE / 2}" y="24" text-anchor="middle" font-size="13">{title}</text>',
        f'<text x="{_SIDE / 2}" y="{_SIDE - 10}" text-anchor="middle">{across}</text>',
        f'<text transform="translate(14 {_SIDE / 2}) rotate(-90)" text-anchor="middle">{up}</text>',
    ]
    for tick in (0, 0.5, 1):
        place = _MARGIN + tick * span
        parts.append(f'<text x="{place}" y="{end + 14}" text-anchor="middle">{tick}</text>')
        parts.append(f'<text x="{_MARGIN - 5}" y="{end - tick * span + 4}" text-anchor="end">{tick}</text>')
    if diagonal:
        parts.append(f'<path d="M{_MARGIN} {end}L{end} {_MARGIN}" stroke="#bbb" stroke-dasharray="4 3"/>')
    for at, line in enumerate(lines):
        colour = _COLOURS[at % len(_COLOURS)]
        points = _thinned(_MARGIN + line.x * span, end - line.y * span)
        text = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline points="{text}" fill="none" stroke="{colour}" stroke-width="1.3"/>')
        if line.marked:
            parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.2" fill="{colour}"/>' for x, y in points]
        row = _MARGIN + 8 + 14 * at
        parts.append(f'<path d="M{end + 8} {row}h14" stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<text x="{end + 26}" y="{row + 4}">{line.name}</text>')
    return "\n".join(parts) + "\n</svg>\n"


def _thinned(x: np.ndarray, y: np.ndarray) -> list[tuple[float, float]]:
    """Points of which neighbours lie at least a unit apart; the ends always."""
    kept = [0]
    for at in range(1, len(x)):
        if abs(x[at] - x[kept[-1]]) + abs(y[at] - y[kept[-1]]) > 1 or at == len(x) - 1:
            kept.append(at)
    return [(float(x[at]), float(y[at])) for at in kept]
