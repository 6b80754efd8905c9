"""The SVG: deliveries and acceptances a second beside the raw ceiling, a bar a case.

Drawn with pygal: 64 KB of pure Python without dependencies of its own, against hundreds of megabytes for
matplotlib, and no layout code here. Its scripts are left out, so that the file is an image and no more."""
import math
from xml.etree import ElementTree

import pygal
from pygal.style import Style

STYLE = Style(font_family="sans-serif", background="white", plot_background="white", opacity="1",
              title_font_size=18, label_font_size=12, major_label_font_size=12, legend_font_size=12,
              value_font_size=11,
              value_colors=("#222", "#222", "#222"), colors=("#5fb3c9", "#c3ccd2", "#eab676"))
SERIES = {"delivered": ("delivered_a_second", "recipients delivered a second"),
          "raw": ("raw_a_second", "raw ceiling (no queue)"),
          "accepted": ("accepted_a_second", "recipients accepted a second")}


def bar(result, figure):
    spread = result.figures.get(figure)
    if spread is None or spread.median <= 0:
        return None
    return {"value": spread.median, "label": f"{spread.low:,.0f} to {spread.high:,.0f}"}


def write_svg(path, machine, results, scale, runs):
    shown = [r for r in results if any(bar(r, figure) for figure, _ in SERIES.values())]
    values = [b["value"] for r in shown for b in (bar(r, figure) for figure, _ in SERIES.values()) if b]
    # Whole decades, so that the shortest bar has a length too.
    low = math.floor(math.log10(min(values, default=1)))
    high = math.ceil(math.log10(max(values, default=10)))
    title = f"Postrider {machine['commit']}: {machine['cores']} cores, {machine['cpu']}, {runs} runs"
    if not scale.whole:
        title += f" (at {scale.text()}: a trial)"
    chart = pygal.HorizontalBar(style=STYLE, logarithmic=True, js=[], explicit_size=True, width=1000,
                                height=140 + 62 * max(1, len(shown)), title=title, print_values=True,
                                value_formatter=lambda value: f"{value:,.0f}" if value else "",
                                show_y_guides=True, legend_at_bottom=True, legend_at_bottom_columns=3,
                                truncate_label=60, truncate_legend=60,
                                no_data_text="nothing was measured a second", range=(10**low, 10**high),
                                zero=10**low, margin_right=60)
    chart.y_labels = [10**i for i in range(low, high + 1)]
    shown.reverse()     # pygal draws upwards
    chart.x_labels = [result.case.label for result in shown]
    for figure, name in SERIES.values():
        chart.add(name, [bar(result, figure) for result in shown])
    tree = chart.render_tree()
    for parent in list(tree.iter()):
        for child in [c for c in parent if str(c.tag).rsplit("}", 1)[-1] == "script"]:
            parent.remove(child)
    with open(path, "wb") as f:
        f.write(ElementTree.tostring(tree, encoding="utf-8", xml_declaration=True))
