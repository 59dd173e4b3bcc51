"""Drawing. Nothing is computed here.

What functions share: `title` heads the figure, `label` names a colour bar with its unit, `columns` are panels in a row.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.resources import files
from string import Template
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
import xarray as xr
from IPython.display import HTML
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from brainalign import cortex
from brainalign.datasets.types import Audio
from brainalign.stats import Estimate

BLUE, GRAY = "#0072B2", "#8a8a8a"
ORANGE, RED = "#E69F00", "#D55E00"
PALETTE = [BLUE, ORANGE, "#009E73", RED, "#CC79A7", "#56B4E9", "#000000"]
"""Okabe and Ito's colours, which readers with any colour vision can tell apart."""
VIEWS = ("lateral", "medial", "ventral")


def use_style() -> None:
    """The book's look, for every figure drawn after the call."""
    mpl.rcParams.update(
        {
            "figure.dpi": 110,
            "figure.constrained_layout.use": True,
            "figure.titleweight": "bold",
            "axes.titlesize": 11,
            "axes.titleweight": "bold",
            "axes.titlelocation": "left",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.prop_cycle": mpl.rcsetup.cycler(color=PALETTE[:6]),
            "legend.frameon": False,
        }
    )


def speech(
    audio: Audio, spectrogram: xr.DataArray, words: pd.DataFrame, start: float, stop: float, *, title: str
) -> Figure:
    """A stretch of sound from `start` to `stop` (s): waveform, spectrogram (time, feature), each word over its time.

    Of `words` [word, onset, offset (s)] are named those that lie in the stretch.
    """
    figure, (top, bottom) = plt.subplots(2, sharex=True, figsize=(9, 4), height_ratios=(1, 1.4))
    samples = np.arange(int(start * audio.rate), int(stop * audio.rate))
    waveform, shown = audio.samples[samples], spectrogram.sel(time=slice(start, stop))
    top.plot(samples / audio.rate, waveform, color=GRAY, lw=0.4)
    level = np.abs(waveform).max()
    inside = words[(words["onset"] >= start) & (words["offset"] <= stop)]
    for row, (word, onset, offset) in enumerate(inside[["word", "onset", "offset"]].itertuples(index=False)):
        top.axvspan(onset, offset, color=BLUE, alpha=0.08 + 0.1 * (row % 2), lw=0)
        top.text((onset + offset) / 2, level * (1.12 + 0.28 * (row % 2)), word, ha="center", va="bottom", fontsize=8)
    top.set(ylabel="pressure\n(full scale)", ylim=(-level, 1.75 * level))
    top.set_title(title)
    bands, style = np.arange(shown.shape[1]), {"cmap": "magma", "shading": "nearest", "rasterized": True}
    drawn = bottom.pcolormesh(shown["time"], bands, shown.T, **style)
    bottom.set(xlabel="time (s)", ylabel="mel band\n(low to high pitch)", xlim=(start, stop))
    figure.colorbar(drawn, ax=bottom, label="level (s.d.)", pad=0.01)
    return figure


def electrodes(channels: pd.DataFrame, panels: Mapping[str, Sequence[float]], *, label: str, title: str = "") -> Figure:
    """Electrodes on the inflated surface of both hemispheres, side view, coloured by a value.

    `channels` [hemisphere, vertex] holds vertices of fsaverage5, NaN where an electrode has no place. Each of `panels`,
    values (channel) by title, is a row of brains; NaN leaves an electrode out.
    """
    from nilearn.plotting import plot_surf  # here: it takes a second to load, and most chapters draw no surface

    values = {name: np.asarray(panel, dtype=float) for name, panel in panels.items()}
    low, high = _limits(values.values())
    look = {"projection": "3d", "computed_zorder": False}
    figure, axes = plt.subplots(len(panels), 2, figsize=(8, 3.1 * len(panels)), subplot_kw=look, squeeze=False)
    plain = {"view": "lateral", "cmap": "gray", "vmin": 0, "vmax": 1, "colorbar": False}
    dots: dict[str, Any] = {"s": 22, "edgecolor": "k", "linewidth": 0.4, "depthshade": False, "zorder": 10}
    for row, (name, panel) in zip(axes, values.items(), strict=True):
        for axis, hemisphere in zip(row, cortex.HEMISPHERES, strict=True):
            inflated = cortex.mesh(hemisphere, "infl")
            folds = np.where(cortex.sulcal_depth(hemisphere) > 0, 0.55, 0.8)
            plot_surf(list(inflated), folds, hemi=hemisphere, axes=axis, **plain)
            here = (channels["hemisphere"] == hemisphere) & channels["vertex"].notna() & np.isfinite(panel)
            points = inflated.vertices[channels.loc[here, "vertex"].astype(int)]
            drawn = axis.scatter(*points.T, c=panel[here], cmap="viridis", vmin=low, vmax=high, **dots)
            axis.set_title(f"{name}, {hemisphere}", fontsize=10, y=0.94)
    figure.colorbar(drawn, ax=axes, label=label, shrink=0.6)
    figure.suptitle(title, x=0.02, ha="left")
    return figure


def surface_maps(
    panels: Mapping[str, pd.Series],
    *,
    label: str,
    hemisphere: str = "right",
    limits: tuple[float, float] | None = None,
    cmap: str = "viridis",
    title: str = "",
) -> Figure:
    """Maps on the inflated surface of fsaverage5 from three sides, its folds in gray where a map has no value.

    Each of `panels`, a Series by title, is a row of brains. Its index are vertices, of which the left hemisphere's come
    first; those of the other hemisphere and NaN are left out. `limits` of the colour scale are, by default, the range
    of all panels.
    """
    from nilearn.plotting import plot_surf_stat_map  # here, as above

    inflated, folds = cortex.mesh(hemisphere, "infl"), cortex.sulcal_depth(hemisphere)
    first = 0 if hemisphere == "left" else len(folds)
    values = {name: panel.reindex(range(first, first + len(folds))).to_numpy(float) for name, panel in panels.items()}
    low, high = limits or _limits(values.values())
    size, look = (8.8, 2.2 * len(panels)), {"projection": "3d"}
    figure, axes = plt.subplots(len(panels), len(VIEWS), figsize=size, subplot_kw=look, squeeze=False)
    scale = {"cmap": cmap, "vmin": low, "vmax": high, "symmetric_cbar": False, "colorbar": False}
    # The median of a face's corners is a value of one of them, also where values stand for categories.
    style = {"bg_map": folds, "hemi": hemisphere, "avg_method": _of_face} | scale
    for row, (name, panel) in zip(axes, values.items(), strict=True):
        for axis, view in zip(row, VIEWS, strict=True):
            plot_surf_stat_map(list(inflated), panel, view=view, axes=axis, **style)
            axis.set_box_aspect(None, zoom=1.4)
            axis.set_title(f"{name}, {view}" if view == VIEWS[0] else view, fontsize=10, y=0.94)
    shown = plt.cm.ScalarMappable(plt.Normalize(low, high), cmap)
    figure.colorbar(shown, ax=axes, label=label, shrink=0.7)
    figure.suptitle(title, x=0.02, ha="left")
    return figure


def surface_view(
    panels: Mapping[str, pd.Series],
    *,
    label: str,
    alt: str,
    hemisphere: str = "right",
    limits: tuple[float, float] | None = None,
    title: str = "",
) -> HTML:
    """The maps of `surface_maps` to turn and to choose from, in any browser and without a network; about half a MB.

    nilearn's interactive views carry a plot library of 1.4 MB each, too much for pages that should stay below 2 MB.
    Arguments are as in `surface_maps`; `hemisphere` comes first, `alt` is what there is to see, for those who cannot.
    """
    meshes = [cortex.mesh(side, "infl") for side in cortex.HEMISPHERES]
    depths = [cortex.sulcal_depth(side) for side in cortex.HEMISPHERES]
    values = [panel.reindex(range(sum(map(len, depths)))).to_numpy(float) for panel in panels.values()]
    low, high = limits or _limits(values)
    reach = max(np.abs(mesh.vertices).max() for mesh in meshes)
    steps = [np.where(np.isnan(v), 255, np.clip((v - low) / (high - low), 0, 1) * 254) for v in values]
    shades = np.round(255 * mpl.colormaps["viridis"](np.arange(255) / 254)[:, :3])

    def packed(array: np.ndarray, kind: str) -> str:
        return base64.b64encode(np.ascontiguousarray(array).astype(kind).tobytes()).decode()

    data = json.dumps(
        {
            "faces": packed(meshes[0].faces, "<u2"),  # those of both hemispheres are the same
            "points": [packed(np.round(mesh.vertices / reach * 32767), "<i2") for mesh in meshes],
            "folds": [packed(np.where(depth > 0, 140, 205), "u1") for depth in depths],
            "values": [[packed(side, "u1") for side in np.split(np.round(step), 2)] for step in steps],
            "colors": packed(shades, "u1"),
            "side": cortex.HEMISPHERES.index(hemisphere),
        }
    )
    page = Template(files("brainalign").joinpath("data/surface_view.html").read_text(encoding="utf-8"))
    return HTML(
        page.substitute(
            name="surface-" + hashlib.sha256(data.encode()).hexdigest()[:12],
            data=data,
            choices="".join(f"<option>{html.escape(panel)}</option>" for panel in panels),
            bar=", ".join(f"rgb({r:.0f},{g:.0f},{b:.0f})" for r, g, b in shades[::16]),
            low=f"{low:.3g}",
            high=f"{high:.3g}",
            **{name: html.escape(text) for name, text in {"title": title, "label": label, "alt": alt}.items()},
        )
    )


def traces(
    lines: pd.DataFrame,
    *,
    ylabel: str,
    title: str,
    windows: ArrayLike = (),
    marks: Sequence[float] = (),
    together: bool = False,
) -> Figure:
    """Courses over time, the columns of `lines` (indexed by s), one below the other or `together` in one panel.

    Shaded are `windows` (window, [begin, end] in s), and at `marks` (s) are dotted lines.
    """
    figure, axes = _grid([""] if together else list(lines), 1, [9], (1.8, 0.9))
    for k, (name, values) in enumerate(lines.items()):
        color = (GRAY, BLUE, ORANGE)[k % 3] if together else BLUE
        axes[0 if together else k].plot(lines.index, values, color=color, lw=1, label=name)
    for axis in axes:
        for low, high in np.asarray(windows):
            axis.axvspan(low, high, color=ORANGE, alpha=0.3, lw=0)
        for mark in marks:
            axis.axvline(mark, color="k", ls=":", lw=0.6)
    if together:
        axes[0].margins(y=0.25)
        axes[0].legend(ncol=lines.shape[1], loc="upper left")
    axes[-1].set(xlabel="time (s)")
    figure.supylabel(ylabel, fontsize=10)
    figure.suptitle(title, x=0.02, ha="left")
    return figure


def histogram(values: pd.DataFrame, *, label: str, counted: str, title: str, planted: float | None = None) -> Figure:
    """How often values occur, by kind, and a dashed line at the truth where it was `planted`.

    `values` [value, kind] holds a row for each of what is `counted`; `label` says what a value is.
    """
    figure, axis = plt.subplots(figsize=(6, 3))
    colors = [BLUE, GRAY, ORANGE][: values["kind"].nunique()]
    sns.histplot(values, x="value", hue="kind", bins=40, palette=colors, alpha=0.8, ax=axis)
    axis.get_legend().set_title("")  # type: ignore[union-attr]
    if planted is not None:
        axis.axvline(planted, color="k", ls="--")
        axis.text(planted, axis.get_ylim()[1], "planted", ha="center", va="bottom", fontsize=8)
    axis.set(xlabel=label, ylabel=counted)
    axis.set_title(title, pad=16)
    return figure


def by_region(subjects: pd.DataFrame, means: Estimate, chance: ArrayLike, *, ylabel: str, title: str) -> Figure:
    """A dot for each subject (row) in each region (column), means with intervals, and a line at chance, by region."""
    figure, axis = plt.subplots(figsize=(7, 3))
    sns.stripplot(subjects, color=GRAY, size=3.5, jitter=0.18, ax=axis)
    at, reach = np.arange(subjects.shape[1]), [means.value - means.low, means.high - means.value]
    axis.errorbar(at, means.value, reach, fmt="o", ms=8, lw=3, color=BLUE, zorder=3)
    axis.hlines(chance, at - 0.35, at + 0.35, color="k", lw=1)
    axis.axhline(0, color="k", lw=0.8, ls="--")
    axis.set(ylabel=ylabel, xlabel="region")
    axis.set_title(title)
    return figure


def lines(
    frame: pd.DataFrame,
    x: str,
    y: str,
    *,
    hue: str | None = None,
    col: str | None = None,
    chance: pd.DataFrame | None = None,
    levels: Mapping[str, float] | None = None,
    xlabel: str,
    ylabel: str,
    title: str,
    columns: int = 3,
    sharey: bool = True,
) -> Figure:
    """Lines with the bands of their intervals, such as a score by layer, in one panel or several.

    `frame` has the columns `x`, in whose order the rows of a line are, and `y`; `hue` and `col`, which tell lines and
    panels apart; and [low, high] where there are intervals, NaN in rows without one. `chance` [x, low, high] and `col`
    is a gray band behind the lines, `levels` are dashed horizontal lines by name. Panels have one scale with `sharey`.
    """
    figure, panels = _panels(frame, col, columns, sharey)
    for name, axis, part in panels:
        if chance is not None:
            band = chance if col is None else chance[chance[col] == name]
            axis.fill_between(band[x], band["low"], band["high"], color=GRAY, alpha=0.3, lw=0, label="chance")
        for label, color, own in _colored(frame, part, hue):
            axis.plot(own[x], own[y], color=color, marker="o" if len(own) < 12 else None, ms=4, label=label)
            if "low" in own:
                axis.fill_between(own[x], own["low"], own["high"], color=color, alpha=0.2, lw=0)
        _levels(axis, levels)
    return _finish(figure, xlabel, ylabel, title)


def points(
    frame: pd.DataFrame,
    x: str,
    y: str,
    *,
    hue: str | None = None,
    col: str | None = None,
    levels: Mapping[str, float] | None = None,
    diagonal: bool = False,
    xlabel: str,
    ylabel: str,
    title: str,
    columns: int = 3,
    sharey: bool = True,
) -> Figure:
    """One point for each row, with its interval where there is one, in one panel or several.

    Arguments are as in `lines`, but `x` may hold names; `diagonal` draws a dashed line where both axes are equal.
    """
    figure, panels = _panels(frame, col, columns, sharey)
    for _, axis, part in panels:
        for label, color, own in _colored(frame, part, hue):
            if "low" in own:
                reach = [own[y] - own["low"], own["high"] - own[y]]
                axis.errorbar(own[x], own[y], reach, fmt="o", ms=5, color=color, label=label)
            else:
                axis.scatter(own[x], own[y], s=18, color=color, label=label, lw=0)
        if diagonal:
            axis.axline((part[x].mean(), part[x].mean()), slope=1, color="k", ls="--", lw=0.8)
        _levels(axis, levels)
    return _finish(figure, xlabel, ylabel, title)


def forest(frame: pd.DataFrame, *, xlabel: str, title: str, level: float = 0.0) -> Figure:
    """Estimates with intervals, one a row, the range of chance behind them, and a line at the `level` of no effect.

    `frame` [value, low, high] and, where known, [chance_low, chance_high] is indexed by what is estimated.
    """
    figure, axis = plt.subplots(figsize=(7, 1.2 + 0.32 * len(frame)))
    axis.use_sticky_edges = False  # chance keeps off the frame
    at = np.arange(len(frame))
    if "chance_low" in frame:
        width = frame["chance_high"] - frame["chance_low"]
        axis.barh(at, width, 0.6, frame["chance_low"], color=GRAY, alpha=0.35, label="chance (95 %)")
        figure.legend(loc="outside lower center")
    reach = [frame["value"] - frame["low"], frame["high"] - frame["value"]]
    axis.errorbar(frame["value"], at, xerr=reach, fmt="o", color=BLUE)
    axis.axvline(level, color="k", lw=0.8, ls="--")
    axis.set_yticks(at, frame.index)
    axis.set(xlabel=xlabel, ylim=(len(frame) - 0.5, -0.5))
    figure.suptitle(title, x=0.02, ha="left")
    return figure


def heatmaps(
    matrices: Mapping[str, pd.DataFrame],
    *,
    label: str,
    xlabel: str,
    ylabel: str,
    title: str,
    diverging: bool = False,
    columns: int = 4,
) -> Figure:
    """Matrices, by the titles of their panels, as colours on one scale, their first row at the bottom.

    A `diverging` scale goes as far below zero as above.
    """
    low, high = _limits(matrix.to_numpy(float) for matrix in matrices.values())
    if diverging:
        low, high = -max(-low, high), max(-low, high)
    figure, axes = _grid(list(matrices), columns, (5, 8, 9), (0.8, 2.8), sharex=False, sharey=False)
    for axis, matrix in zip(axes, matrices.values(), strict=True):
        sns.heatmap(matrix, vmin=low, vmax=high, cmap="RdBu_r" if diverging else "viridis", cbar=False, ax=axis)
        axis.invert_yaxis()
        axis.tick_params(axis="y", rotation=0)
        axis.set(xlabel="", ylabel="")
    figure.colorbar(axes[0].collections[0], ax=figure.axes, label=label, shrink=0.8)
    return _finish(figure, xlabel, ylabel, title)


def places(
    scores: xr.DataArray,
    found: xr.DataArray,
    *,
    label: str,
    title: str,
    chance: xr.DataArray | None = None,
    interval: xr.DataArray | None = None,
    ceiling: xr.DataArray | None = None,
    hemisphere: str = "right",
    unsure: str = "mean, not beyond chance",
) -> Figure:
    """Scores of models at places of the brain: a map for each model, or a panel for each region.

    `scores` are (subject, model, place); the last dimension may have any name. Numbers as its coordinate are vertices
    of fsaverage5, and the mean over subjects is drawn on the cortex of a `hemisphere`. Names are regions: small dots
    are the subjects, large ones their means. What is not `found` (model, place) is gray on the cortex and hollow in
    regions, `unsure` in the legend. Regions may have `chance` (model, place), a red line; `interval` (end, model,
    place), a bar through the mean; and `ceiling` (end, place), a gray band behind all models.
    """
    means, names = scores.mean("subject"), scores["model"].values
    (dim,) = set(scores.dims) - {"subject", "model"}
    if scores[dim].dtype.kind in "iu":
        kept = means.where(found)
        limits = (min(0.0, float(kept.min())), float(means.max()))
        panels = {name: kept.sel(model=name).to_series() for name in names}
        return surface_maps(panels, label=label, hemisphere=hemisphere, limits=limits, title=title)
    regions, at = scores[dim].values, np.arange(len(names))
    figure, axes = _grid(regions, 2, (7, 9), (1, 0.5 + 0.27 * len(names)))
    for axis, region in zip(axes, regions, strict=True):
        here = {dim: region, "model": names}
        if ceiling is not None:
            ends = ceiling.sel({dim: region}).values
            axis.axvspan(*ends, color=GRAY, alpha=0.3, lw=0, label="noise ceiling")
        axis.plot(scores.sel(here).transpose("subject", "model").T, at, "k.", ms=5, zorder=3)
        shown, sure = means.sel(here), found.sel(here).values
        for some, fill, text in ((sure, BLUE, "mean of people"), (~sure, "w", unsure)):
            if some.any():
                axis.scatter(shown[some], at[some], s=55, facecolor=fill, edgecolor=BLUE, label=text, zorder=2)
        if interval is not None:
            axis.hlines(at, *interval.sel(here).transpose("end", "model"), color=BLUE, lw=2, zorder=1)
        if chance is not None:
            axis.plot(chance.sel(here), at, "|", color=RED, ms=13, mew=1.5, label="chance (95 %)")
        axis.axvline(0, color="k", lw=0.8, ls="--")
        axis.set(yticks=at, yticklabels=names, ylim=(len(names) - 0.4, -0.6))
    return _finish(figure, label, "", title)


def pictures(images: Sequence[ArrayLike], texts: Sequence[str], *, title: str) -> Figure:
    """Pictures (height, width, 3), two in a row, each with its text beside it; long lines are broken."""
    rows = -(-len(images) // 2)
    figure, axes = plt.subplots(rows, 4, figsize=(9, 0.4 + 2.1 * rows), width_ratios=[1, 1.3, 1, 1.3])
    for axis in axes.flat:
        axis.set_axis_off()
    for pictured, beside, image, text in zip(axes.flat[::2], axes.flat[1::2], images, texts, strict=False):
        pictured.imshow(image)
        wrapped = "\n".join(textwrap.fill(line, 28) for line in text.split("\n"))
        beside.text(0, 0.98, wrapped, va="top", fontsize=8.5, transform=beside.transAxes)
    figure.suptitle(title, x=0.02, ha="left")
    return figure


def null(
    draws: pd.DataFrame, observed: Mapping[str, float], *, xlabel: str, title: str, counted: str = "", columns: int = 4
) -> Figure:
    """A histogram for each column of `draws` (or of what else is `counted`), and a line at what was `observed`."""
    figure, panels = _panels(draws.melt(var_name="question"), "question", columns, sharex=False)
    for name, axis, part in panels:
        axis.locator_params(axis="x", nbins=5)
        sns.histplot(part["value"], bins=25, color=GRAY, ax=axis)
        axis.axvline(observed[name], color=BLUE, lw=2)
        axis.set(xlabel="", ylabel="")
    return _finish(figure, xlabel, counted or "draws of chance", title)


def _grid(
    titles: Sequence,
    columns: int,
    widths: Sequence,
    heights: tuple[float, float],
    sharex: bool = True,
    sharey: bool = True,
) -> tuple[Figure, list[Axes]]:
    """Panels with titles; of the figure, widths (with one, two... panels in a row), height without rows and of each."""
    n = min(columns, len(titles))
    rows = -(-len(titles) // n)
    size = widths[min(n, len(widths)) - 1], heights[0] + heights[1] * rows
    figure, axes = plt.subplots(rows, n, figsize=size, sharex=sharex, sharey=sharey, squeeze=False)
    for axis in axes.flat[len(titles) :]:
        axis.set_axis_off()
    for axis, title in zip(axes.flat, titles, strict=False):
        axis.set_title(str(title), fontsize=10)
    return figure, list(axes.flat[: len(titles)])


def _panels(
    frame: pd.DataFrame, col: str | None, columns: int, sharey: bool = True, sharex: bool = True
) -> tuple[Figure, list[tuple[Any, Axes, pd.DataFrame]]]:
    """A figure with one panel for each value of the column, titled by it."""
    parts = dict(list(frame.groupby(col, sort=False))) if col else {"": frame}
    figure, axes = _grid(list(parts), columns, (5.6, 9), (1, 2.4), sharex, sharey)
    return figure, list(zip(parts, axes, parts.values(), strict=True))


def _colored(frame: pd.DataFrame, part: pd.DataFrame, hue: str | None) -> Iterator[tuple[Any, str, pd.DataFrame]]:
    """Label, colour and rows of what a column tells apart in a panel; all panels of a frame share the colours."""
    order = list(frame[hue].unique()) if hue else [None]
    for label, own in part.groupby(hue, sort=False) if hue else [(None, part)]:
        yield label, PALETTE[order.index(label) % len(PALETTE)], own


def _limits(values: Iterable[np.ndarray]) -> tuple[float, float]:
    """The range of all values."""
    lows, highs = zip(*((np.nanmin(one), np.nanmax(one)) for one in values), strict=True)
    return min(lows), max(highs)


def _levels(axis: Axes, levels: Mapping[str, float] | None) -> None:
    for k, (name, level) in enumerate((levels or {}).items()):
        axis.axhline(level, color="k", lw=0.8, ls=("--", ":", "-.", "-")[k % 4], label=name)


def _finish(figure: Figure, xlabel: str, ylabel: str, title: str) -> Figure:
    """Labels of the whole figure, and one legend below it where there is something to tell apart."""
    figure.supylabel(ylabel, fontsize=10)
    figure.suptitle(title, x=0.02, ha="left")
    named = {
        label: handle for axis in figure.axes for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    if named:  # the label heads the legend: side by side below the panels they would overlap
        style: dict[str, Any] = {"loc": "outside lower center", "ncol": min(4, len(named)), "fontsize": 8}
        figure.legend(named.values(), named.keys(), title=xlabel, title_fontsize=10, **style)
    else:
        figure.supxlabel(xlabel, fontsize=10)
    return figure


def _of_face(corners: np.ndarray) -> float:
    """The value of a triangle: the median of its corners that have one, if at least two have."""
    known = corners[np.isfinite(corners)]
    return float(np.median(known)) if len(known) > 1 else np.nan
