"""Charts as the pages draw them: readable on light and dark, without animation, described for those who cannot see."""

from __future__ import annotations

from typing import Any

from nicegui import ui

from pellucid.service.language.translator import Translator

SERIES_COLOURS = ["#4a8fc7", "#1d9d72", "#d2495f", "#c8922a", "#8a78c9"]
AXIS_COLOUR = "#8a97a1"  # axes on either ground; texts take the page's ink


def chart(t: Translator, options: dict[str, Any], title: str) -> ui.echart:
    """Draw an ECharts chart in the page's style.

    Args:
        t: the page's language, whose digits the axes have.
        options: of ECharts; axes, series and whatever differs from the style.
        title: read aloud.
    """
    spelled = f"(value) => String(value).replace(/[0-9]/g, (digit) => '{t.own_digits}'[digit])"
    for axis in ("xAxis", "yAxis"):
        options[axis] = {
            "axisLine": {"lineStyle": {"color": AXIS_COLOUR}},
            "splitLine": {"lineStyle": {"color": AXIS_COLOUR, "opacity": 0.25}},
            **({"axisLabel": {":formatter": spelled}} if t.own_digits else {}),
            **options[axis],
        }
    style = {
        "animation": False,
        "color": SERIES_COLOURS,
        "aria": {"enabled": True},
        "tooltip": {"trigger": "axis", **({":valueFormatter": spelled} if t.own_digits else {})},
        "legend": {"top": 0, "type": "scroll"},
        "grid": {"left": 64, "right": 24, "top": 40, "bottom": 46},
    }
    element = ui.echart(style | options, renderer="svg").classes("chart")
    return element.props(f'role="img" aria-label="{title}"')
