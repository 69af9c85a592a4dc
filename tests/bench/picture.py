# SPDX-License-Identifier: ISC
"""The picture of a bench: bars, a row for each subject, ours in a colour."""

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot   # noqa: E402  (not before that)

from figures import NONE, rate_text     # noqa: E402
from subjects import label              # noqa: E402

OURS, OTHERS, BARE = "#1f6fb4", "#a8a8a8", "#5c5c5c"
# Measure, key, title; of what is the same for all, its subject is left out.
PANELS = (("bulk1", "cpu", "CPU s per GiB, 1 stream (less is better)"),
          ("bulk8", "cpu", "CPU s per GiB, 8 streams (less is better)"),
          ("bulk1", "ratio", "Throughput, no relay = 1; 1 stream"),
          ("bulk8", "ratio", "Throughput, no relay = 1; 8 streams"),
          ("sessions", "value", "New connections a second, 50 users"),
          ("keepalive", "p99", "p99 of a request, ms (less is better)"),
          ("keepalive-beside", "p99",
           "The same beside a transfer of {beside}"))
MEMORY = "KiB of an idle session, each relay (less is better)"


def colour(name):
    if name in (NONE, "splice-loop"):
        return BARE
    return OURS if name.startswith(("mux-", "direct-")) else OTHERS


def bars(summary, measure, key):
    """[(subject, figure)] for a panel; no relay has no CPU time, and is 1 of
    itself."""
    return [(name, one[key]) for name, one in summary.get(measure, {}).items()
            if one.get(key) is not None and
            not (name == NONE and key in ("cpu", "ratio"))]


def memory_bars(scale):
    """Of ours that of the end that takes more."""
    ours = [(kind, max(end["uss"] for end in one["daemons"].values()))
            for kind, one in scale.get("memory", {}).items()]
    return ours + [(name, one["uss"])
                   for name, one in scale.get("relays", {}).items()]


def all_panels(document, summary):
    """[(title, [(subject, figure)])] of what was measured."""
    beside = rate_text(document["beside"])
    found = [(title.format(beside=beside), bars(summary, measure, key))
             for measure, key, title in PANELS]
    found.append((MEMORY, memory_bars(document["scale"])))
    return [(title, one) for title, one in found if one]


def draw_panel(axes, title, found):
    names = [label(name) for name, _ in found]
    values = [value for _, value in found]
    drawn = axes.barh(range(len(found)), values,
                      color=[colour(name) for name, _ in found])
    axes.bar_label(drawn, padding=2, fontsize=7, labels=[
        f"{value:,.0f}" if value >= 100 else f"{value:.2f}"
        for value in values])
    axes.set_yticks(range(len(found)), names, fontsize=7)
    axes.set_title(title, fontsize=8, loc="left")
    axes.tick_params(axis="x", labelsize=7)
    axes.margins(x=0.14)
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)


def draw(document, path):
    congestion, run = next(iter(document["runs"].items()), ("", None))
    if run is None:
        return
    panels = all_panels(document, run["summary"])
    if not panels:
        return
    matplotlib.rcParams.update({"svg.fonttype": "none",
                                "svg.hashsalt": "tunneld",
                                "font.family": "sans-serif"})
    height = -(-len(panels) // 2)
    figure, grid = pyplot.subplots(height, 2, squeeze=False,
                                   figsize=(9.5, 2.9 * height + 0.4),
                                   layout="constrained")
    for axes in grid.flat[len(panels):]:
        axes.set_visible(False)
    for axes, panel in zip(grid.flat, panels):
        draw_panel(axes, *panel)
    machine = document["machine"]
    figure.suptitle(
        f"Two relays in a chain over loopback, {congestion}; "
        f"{machine['cores']} cores {machine['cpu']}, "
        f"tunneld {document['versions']['tunneld']}, {document['when'][:10]}",
        fontsize=8)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
