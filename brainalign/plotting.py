"""Drawing. Nothing is computed here."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from brainalign import cortex
from brainalign.datasets.types import Audio
from brainalign.stats import Estimate

SEQUENTIAL = "viridis"
COLORS = {
    "blue": "#0072B2",
    "orange": "#E69F00",
    "green": "#009E73",
    "red": "#D55E00",
    "purple": "#CC79A7",
    "sky": "#56B4E9",
    "black": "#000000",
    "gray": "#8a8a8a",
}
"""Okabe and Ito's palette, which readers with any colour vision can tell apart, and a gray."""


def use_style() -> None:
    """The book's look, for every figure drawn after the call."""
    mpl.rcParams.update(
        {
            "figure.dpi": 110,
            "savefig.dpi": 110,
            "figure.constrained_layout.use": True,
            "font.size": 10,
            "axes.titlesize": 11,
            "axes.titleweight": "bold",
            "axes.titlelocation": "left",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.prop_cycle": mpl.rcsetup.cycler(
                color=[COLORS[name] for name in ("blue", "orange", "green", "red", "purple", "sky")]
            ),
            "legend.frameon": False,
            "image.cmap": SEQUENTIAL,
        }
    )


def speech(
    audio: Audio, spectrogram: xr.DataArray, words: pd.DataFrame, start: float, stop: float, *, title: str
) -> Figure:
    """A stretch of sound: waveform, spectrogram, and each word over the time it takes.

    Parameters
    ----------
    audio : Audio
        Samples, full scale +-1, and their rate.
    spectrogram : DataArray of shape (time, feature)
    words : DataFrame [word, onset, offset]
        Of these, words that lie in the stretch are named.
    start, stop : float
        s.
    title : str

    Returns
    -------
    Figure
    """
    figure, (top, bottom) = plt.subplots(2, sharex=True, figsize=(9, 4), height_ratios=(1, 1.4))
    samples = np.arange(int(start * audio.rate), int(stop * audio.rate))
    waveform, shown = audio.samples[samples], spectrogram.sel(time=slice(start, stop))
    top.plot(samples / audio.rate, waveform, color=COLORS["gray"], lw=0.4)
    level = np.abs(waveform).max()
    inside = words[(words["onset"] >= start) & (words["offset"] <= stop)]
    for row, (word, onset, offset) in enumerate(inside[["word", "onset", "offset"]].itertuples(index=False)):
        top.axvspan(onset, offset, color=COLORS["blue"], alpha=0.08 + 0.1 * (row % 2), lw=0)
        top.text((onset + offset) / 2, level * (1.12 + 0.28 * (row % 2)), word, ha="center", va="bottom", fontsize=8)
    top.set(ylabel="pressure\n(full scale)", ylim=(-level, 1.75 * level))
    top.set_title(title)
    bands, style = np.arange(shown.shape[1]), {"cmap": "magma", "shading": "nearest", "rasterized": True}
    drawn = bottom.pcolormesh(shown["time"], bands, shown.T, **style)
    bottom.set(xlabel="time (s)", ylabel="mel band\n(low to high pitch)", xlim=(start, stop))
    figure.colorbar(drawn, ax=bottom, label="level (s.d.)", pad=0.01)
    return figure


def electrodes(
    channels: pd.DataFrame,
    panels: Mapping[str, Sequence[float]],
    *,
    label: str,
    limits: tuple[float, float] | None = None,
    cmap: str = SEQUENTIAL,
    title: str = "",
) -> Figure:
    """Electrodes on the inflated surface of both hemispheres, side view, coloured by a value.

    Parameters
    ----------
    channels : DataFrame [hemisphere, vertex]
        `vertex` is the electrode's vertex of fsaverage5, NaN where it has no place.
    panels : mapping of str to sequence of shape (channel)
        A row of brains for each entry, its title the key; NaN leaves an electrode out.
    label : str
        Of the colour bar, with its unit.
    limits : (float, float), optional
        Of the colour scale; default: the range of all panels.
    cmap : str
    title : str
        Of the whole figure.

    Returns
    -------
    Figure
    """
    from nilearn.plotting import plot_surf  # here: it takes a second to load, and most chapters draw no surface

    values = {name: np.asarray(panel, dtype=float) for name, panel in panels.items()}
    low, high = limits or (min(map(np.nanmin, values.values())), max(map(np.nanmax, values.values())))
    figure, axes = plt.subplots(
        len(panels),
        2,
        figsize=(8, 3.1 * len(panels)),
        subplot_kw={"projection": "3d", "computed_zorder": False},
        squeeze=False,
    )
    for row, (name, panel) in zip(axes, values.items(), strict=True):
        for axis, hemisphere in zip(row, cortex.HEMISPHERES, strict=True):
            inflated = cortex.mesh(hemisphere, "infl")
            folds = np.where(cortex.sulcal_depth(hemisphere) > 0, 0.55, 0.8)
            plot_surf(
                list(inflated),
                folds,
                hemi=hemisphere,
                view="lateral",
                cmap="gray",
                vmin=0,
                vmax=1,
                axes=axis,
                colorbar=False,
            )
            here = (channels["hemisphere"] == hemisphere).to_numpy() & np.isfinite(panel)
            here &= channels["vertex"].notna().to_numpy()
            points = inflated.vertices[channels["vertex"].to_numpy()[here].astype(int)]
            drawn = axis.scatter(
                *points.T,
                c=panel[here],
                cmap=cmap,
                vmin=low,
                vmax=high,
                s=22,
                edgecolor="k",
                linewidth=0.4,
                depthshade=False,
                zorder=10,
            )
            axis.set_title(f"{name}, {hemisphere}", fontsize=10, y=0.94)
    figure.colorbar(drawn, ax=axes, label=label, shrink=0.6)
    figure.suptitle(title, fontweight="bold", x=0.02, ha="left")
    return figure


def surface_maps(
    panels: Mapping[str, pd.Series],
    *,
    label: str,
    hemisphere: str = "right",
    views: Sequence[str] = ("lateral", "medial", "ventral"),
    limits: tuple[float, float] | None = None,
    cmap: str | Colormap = SEQUENTIAL,
    title: str = "",
) -> Figure:
    """Maps on the inflated surface of fsaverage5, its folds in gray where a map has no value.

    Parameters
    ----------
    panels : mapping of str to Series
        A row of brains for each entry, its title the key. Indexed by vertices, of which the left hemisphere's come
        first; those of the other hemisphere and NaN are left out.
    label : str
        Of the colour bar, with its unit.
    hemisphere : {"right", "left"}
    views : sequence of str
        A column of brains for each, as nilearn names them.
    limits : (float, float), optional
        Of the colour scale; default: the range of all panels.
    cmap : str or Colormap
    title : str
        Of the whole figure.

    Returns
    -------
    Figure
        The last of its axes is the colour bar.
    """
    from nilearn.plotting import plot_surf_stat_map  # here, as above

    inflated, folds = cortex.mesh(hemisphere, "infl"), cortex.sulcal_depth(hemisphere)
    first = 0 if hemisphere == "left" else len(inflated.vertices)
    values = {name: panel.reindex(range(first, first + len(folds))).to_numpy(float) for name, panel in panels.items()}
    low, high = limits or (min(map(np.nanmin, values.values())), max(map(np.nanmax, values.values())))
    figure, axes = plt.subplots(
        len(panels),
        len(views),
        figsize=(8.8, 2.2 * len(panels)),
        subplot_kw={"projection": "3d"},
        squeeze=False,
    )
    for row, (name, panel) in zip(axes, values.items(), strict=True):
        for axis, view in zip(row, views, strict=True):
            # The median of a face's corners is a value of one of them, also where values stand for categories.
            plot_surf_stat_map(
                list(inflated),
                panel,
                bg_map=folds,
                hemi=hemisphere,
                view=view,
                cmap=cmap,
                vmin=low,
                vmax=high,
                symmetric_cbar=False,
                avg_method=_of_face,
                axes=axis,
                colorbar=False,
            )
            axis.set_box_aspect(None, zoom=1.4)
            axis.set_title(f"{name}, {view}" if view == views[0] else view, fontsize=10, y=0.94)
    shown = plt.cm.ScalarMappable(plt.Normalize(low, high), cmap)
    figure.colorbar(shown, ax=axes, label=label, shrink=0.7)
    figure.suptitle(title, fontweight="bold", x=0.02, ha="left")
    return figure


class SurfaceView:
    """What `surface_view` makes: shown as HTML where a notebook ends a cell with it."""

    def __init__(self, html: str) -> None:
        self.html = html

    def __repr__(self) -> str:
        return f"SurfaceView({len(self.html) / 1e6:.1f} MB of HTML)"

    def _repr_html_(self) -> str:
        return self.html


def surface_view(
    panels: Mapping[str, pd.Series],
    *,
    label: str,
    alt: str,
    hemisphere: str = "right",
    limits: tuple[float, float] | None = None,
    cmap: str | Colormap = SEQUENTIAL,
    title: str = "",
) -> SurfaceView:
    """The maps of `surface_maps` to turn and to choose from, in any browser and without a network; about half a MB.

    nilearn's interactive views carry a plot library of 1.4 MB in every one of them, too much for pages that should stay
    below 2 MB; turning a mesh needs a hundred lines.

    Parameters
    ----------
    panels, label, hemisphere, limits, cmap, title
        As in `surface_maps`; `hemisphere` is the one that is shown first.
    alt : str
        What there is to see, for those who cannot.

    Returns
    -------
    SurfaceView
    """
    values = {name: panel.reindex(range(2 * 10_242)).to_numpy(float) for name, panel in panels.items()}
    low, high = limits or (min(map(np.nanmin, values.values())), max(map(np.nanmax, values.values())))
    meshes = [cortex.mesh(side, "infl") for side in cortex.HEMISPHERES]
    depths = [cortex.sulcal_depth(side) for side in cortex.HEMISPHERES]
    reach = max(np.abs(mesh.vertices).max() for mesh in meshes)
    steps = {
        name: np.where(np.isnan(panel), 255, np.clip((panel - low) / (high - low), 0, 1) * 254)
        for name, panel in values.items()
    }
    colors = mpl.colormaps[cmap] if isinstance(cmap, str) else cmap
    shades = np.round(255 * colors(np.arange(255) / 254)[:, :3])

    def packed(array: np.ndarray, kind: str) -> str:
        return base64.b64encode(np.ascontiguousarray(array).astype(kind).tobytes()).decode()

    data = {
        "faces": packed(meshes[0].faces, "<u2"),  # those of both hemispheres are the same
        "points": [packed(np.round(mesh.vertices / reach * 32767), "<i2") for mesh in meshes],
        "folds": [packed(np.where(depth > 0, 140, 205), "u1") for depth in depths],
        "values": [[packed(side, "u1") for side in np.split(np.round(step), 2)] for step in steps.values()],
        "colors": packed(shades, "u1"),
        "side": cortex.HEMISPHERES.index(hemisphere),
    }
    data = json.dumps(data)
    name = "surface-" + hashlib.sha256(data.encode()).hexdigest()[:12]
    script = Path(__file__).with_name("data").joinpath("surface_view.js").read_text(encoding="utf-8")
    bar = ", ".join(f"rgb({r:.0f},{g:.0f},{b:.0f})" for r, g, b in shades[::16])
    choices = "".join(f"<option>{html.escape(panel)}</option>" for panel in panels)
    views = {"side 0": "left hemisphere", "side 1": "right hemisphere"}
    views |= {f"{view} 0": f"{view} view" for view in ("lateral", "medial", "ventral")}
    buttons = "".join(f'<button type="button" data-to="{to}">{text}</button> ' for to, text in views.items())
    row, strip = "display:flex;gap:.6em;align-items:center;font-size:.85em", "flex:1;height:.8em"
    return SurfaceView(
        f'<div id="{name}" style="max-width:620px"><b>{html.escape(title)}</b><br>'
        f'<select aria-label="map">{choices}</select> {buttons}'
        f'<canvas width="620" height="400" tabindex="0" role="img" aria-label="{html.escape(alt)}" '
        f'style="width:100%;touch-action:none;cursor:grab"></canvas><div style="{row}">{low:.3g} '
        f'<span style="{strip};background:linear-gradient(to right, {bar})"></span> {high:.3g} &nbsp; '
        f"{html.escape(label)}</div></div>"
        f"<script>(() => {{ {script}\nsurfaceView({json.dumps(name)}, {data}); }})();</script>"
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
    """Courses over time, one below the other or in one panel.

    Parameters
    ----------
    lines : DataFrame of shape (time, line)
        Indexed by s; the columns are the lines' names.
    ylabel, title : str
    windows : array of shape (window, 2)
        Begin and end (s) of stretches to shade.
    marks : sequence of float
        Times (s) of dotted lines.
    together : bool
        All in one panel, with a legend.

    Returns
    -------
    Figure
    """
    n = 1 if together else lines.shape[1]
    figure, axes = plt.subplots(n, sharex=True, sharey=True, figsize=(9, 1.8 + 0.9 * n), squeeze=False)
    colors = [COLORS[name] for name in ("gray", "blue", "orange")]
    for k, (name, values) in enumerate(lines.items()):
        axis = axes[0 if together else k, 0]
        axis.plot(lines.index, values, color=colors[k % 3] if together else COLORS["blue"], lw=1, label=name)
        if not together:
            axis.set_title(name, fontsize=10)
    for axis in axes[:, 0]:
        for low, high in np.asarray(windows):
            axis.axvspan(low, high, color=COLORS["orange"], alpha=0.3, lw=0)
        for mark in marks:
            axis.axvline(mark, color="k", ls=":", lw=0.6)
    if together:
        axes[0, 0].margins(y=0.25)
        axes[0, 0].legend(ncol=lines.shape[1], loc="upper left")
    axes[-1, 0].set(xlabel="time (s)")
    figure.supylabel(ylabel, fontsize=10)
    figure.suptitle(title, fontweight="bold", x=0.02, ha="left")
    return figure


def histogram(values: pd.DataFrame, *, label: str, counted: str, title: str, planted: float | None = None) -> Figure:
    """How often values occur, by kind.

    Parameters
    ----------
    values : DataFrame [value, kind]
    label, counted : str
        What `value` is, and what has one.
    title : str
    planted : float, optional
        A dashed line at the truth.

    Returns
    -------
    Figure
    """
    figure, axis = plt.subplots(figsize=(6, 3))
    colors = [COLORS[name] for name in ("blue", "gray", "orange")][: values["kind"].nunique()]
    sns.histplot(values, x="value", hue="kind", bins=40, palette=colors, alpha=0.8, ax=axis)
    axis.get_legend().set_title("")  # type: ignore[union-attr]
    if planted is not None:
        axis.axvline(planted, color="k", ls="--")
        axis.text(planted, axis.get_ylim()[1], "planted", ha="center", va="bottom", fontsize=8)
    axis.set(xlabel=label, ylabel=counted)
    axis.set_title(title, pad=16)
    return figure


def by_region(people: pd.DataFrame, means: Estimate, chance: ArrayLike, *, ylabel: str, title: str) -> Figure:
    """A dot for each person in each region, the mean with its interval, and the level of chance.

    Parameters
    ----------
    people : DataFrame of shape (person, region)
    means : Estimate of arrays of shape (region)
    chance : array of shape (region)
        Drawn as a black line.
    ylabel, title : str

    Returns
    -------
    Figure
    """
    figure, axis = plt.subplots(figsize=(7, 3))
    sns.stripplot(people, color=COLORS["gray"], size=3.5, jitter=0.18, ax=axis)
    at, reach = np.arange(people.shape[1]), [means.value - means.low, means.high - means.value]
    axis.errorbar(at, means.value, reach, fmt="o", ms=8, lw=3, color=COLORS["blue"], zorder=3)
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

    Parameters
    ----------
    frame : DataFrame [x, y] and, where there are intervals, [low, high]
        Rows of one line are in the order of `x`; rows without an interval have NaN.
    x, y : str
        Columns of `frame`.
    hue, col : str, optional
        Columns that tell lines and panels apart.
    chance : DataFrame [x, low, high] and `col`, optional
        A gray band behind the lines of each panel.
    levels : mapping of str to float, optional
        Dashed horizontal lines, by name.
    xlabel, ylabel, title : str
    columns : int
        Panels in a row.
    sharey : bool
        One scale for all panels, or one each.

    Returns
    -------
    Figure
    """
    figure, panels = _panels(frame, col, columns, sharey)
    colors = _hues(frame, hue)
    for name, axis, part in panels:
        if chance is not None:
            band = chance if col is None else chance[chance[col] == name]
            axis.fill_between(band[x], band["low"], band["high"], color=COLORS["gray"], alpha=0.3, lw=0, label="chance")
        for label, own in part.groupby(hue, sort=False) if hue else [(None, part)]:
            axis.plot(own[x], own[y], color=colors[label], marker="o" if len(own) < 12 else None, ms=4, label=label)
            if "low" in own:
                axis.fill_between(own[x], own["low"], own["high"], color=colors[label], alpha=0.2, lw=0)
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

    Parameters
    ----------
    frame : DataFrame [x, y] and, where there are intervals, [low, high]
    x, y : str
        Columns of `frame`; `x` may be names.
    hue, col : str, optional
        Columns that tell points and panels apart.
    levels : mapping of str to float, optional
        Dashed horizontal lines, by name.
    diagonal : bool
        A dashed line where both axes are equal.
    xlabel, ylabel, title : str
    columns : int
        Panels in a row.
    sharey : bool
        One scale for all panels, or one each.

    Returns
    -------
    Figure
    """
    figure, panels = _panels(frame, col, columns, sharey)
    colors = _hues(frame, hue)
    for _, axis, part in panels:
        for label, own in part.groupby(hue, sort=False) if hue else [(None, part)]:
            if "low" in own:
                reach = [own[y] - own["low"], own["high"] - own[y]]
                axis.errorbar(own[x], own[y], reach, fmt="o", ms=5, color=colors[label], label=label)
            else:
                axis.scatter(own[x], own[y], s=18, color=colors[label], label=label, lw=0)
        if diagonal:
            axis.axline((part[x].mean(), part[x].mean()), slope=1, color="k", ls="--", lw=0.8)
        _levels(axis, levels)
    return _finish(figure, xlabel, ylabel, title)


def forest(frame: pd.DataFrame, *, xlabel: str, title: str, level: float = 0.0) -> Figure:
    """Estimates with intervals, one a row, and the range of chance behind them.

    Parameters
    ----------
    frame : DataFrame [value, low, high] and, where known, [chance_low, chance_high]
        Indexed by what is estimated, from the top.
    xlabel, title : str
    level : float
        What no effect would give, a dashed line.

    Returns
    -------
    Figure
    """
    figure, axis = plt.subplots(figsize=(7, 1.2 + 0.32 * len(frame)))
    at = np.arange(len(frame))
    if "chance_low" in frame:
        width = frame["chance_high"] - frame["chance_low"]
        axis.barh(at, width, 0.6, frame["chance_low"], color=COLORS["gray"], alpha=0.35, label="chance (95 %)")
        figure.legend(loc="outside lower center")
    reach = [frame["value"] - frame["low"], frame["high"] - frame["value"]]
    axis.errorbar(frame["value"], at, xerr=reach, fmt="o", color=COLORS["blue"])
    axis.axvline(level, color="k", lw=0.8, ls="--")
    axis.set_yticks(at, frame.index)
    axis.invert_yaxis()
    axis.set(xlabel=xlabel)
    figure.suptitle(title, fontweight="bold", x=0.02, ha="left")
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
    """Matrices as colours on one scale, the first row at the bottom.

    Parameters
    ----------
    matrices : mapping of str to DataFrame of shape (row, column)
        By the title of the panel.
    label, xlabel, ylabel, title : str
    diverging : bool
        Colours around zero.
    columns : int
        Panels in a row.

    Returns
    -------
    Figure
    """
    values = np.concatenate([matrix.to_numpy(float).ravel() for matrix in matrices.values()])
    low, high = np.nanmin(values), np.nanmax(values)
    limits = (-max(-low, high), max(-low, high)) if diverging else (low, high)
    n = min(columns, len(matrices))
    rows = -(-len(matrices) // n)
    figure, axes = plt.subplots(rows, n, figsize=(min(9, 2 + 3 * n), 0.8 + 2.8 * rows), squeeze=False)
    style = {"vmin": limits[0], "vmax": limits[1], "cmap": "RdBu_r" if diverging else SEQUENTIAL, "cbar": False}
    for axis, (name, matrix) in zip(axes.flat, matrices.items(), strict=False):
        sns.heatmap(matrix, ax=axis, **style)
        axis.invert_yaxis()
        axis.set(xlabel="", ylabel="")
        axis.set_title(name, fontsize=10)
    for axis in axes.flat[len(matrices) :]:
        axis.set_axis_off()
    figure.colorbar(axes.flat[0].collections[0], ax=axes, label=label, shrink=0.8)
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
    columns: int = 2,
) -> Figure:
    """Scores of models at places of the brain: a map for each model, or a panel for each region.

    Parameters
    ----------
    scores : DataArray of shape (subject, model, place)
        The last dimension may have any name. Numbers as its coordinate are vertices of fsaverage5, and the mean over
        people is drawn on the cortex. Names are regions: small dots are the people, large ones their means.
    found : DataArray of shape (model, place), bool
        The rest is left gray on the cortex, and hollow in regions.
    label, title : str
    chance : DataArray of shape (model, place), optional
        A red line in regions.
    interval : DataArray of shape (end, model, place), optional
        Lower and upper end of a bar through the mean, in regions.
    ceiling : DataArray of shape (end, place), optional
        The same of a gray band behind all models.
    hemisphere : {"right", "left"}
        On the cortex.
    columns : int
        Panels in a row.

    Returns
    -------
    Figure
    """
    means, names = scores.mean("subject"), scores["model"].values
    (dim,) = set(scores.dims) - {"subject", "model"}
    if scores[dim].dtype.kind in "iu":
        kept = means.where(found)
        limits = (min(0.0, float(kept.min())), float(means.max()))
        panels = {name: kept.sel(model=name).to_series() for name in names}
        return surface_maps(panels, label=label, hemisphere=hemisphere, limits=limits, title=title)
    n, at = min(columns, scores.sizes[dim]), np.arange(len(names))
    rows = -(-scores.sizes[dim] // n)
    size = (9 if n > 1 else 7, 1 + rows * (0.5 + 0.27 * len(names)))
    figure, axes = plt.subplots(rows, n, sharex=True, sharey=True, figsize=size, squeeze=False)
    for axis in axes.flat[scores.sizes[dim] :]:
        axis.set_axis_off()
    for axis, name in zip(axes.flat, scores[dim].values, strict=False):
        here = {dim: name, "model": names}
        if ceiling is not None:
            band = {"color": COLORS["gray"], "alpha": 0.3, "lw": 0, "label": "noise ceiling"}
            axis.axvspan(*ceiling.sel({dim: name}).values, **band)
        axis.plot(scores.sel(here).transpose("subject", "model").T, at, "k.", ms=5, zorder=3)
        shown, sure = means.sel(here), found.sel(here).values
        for some, fill, text in ((sure, COLORS["blue"], "mean of people"), (~sure, "w", "mean, not beyond chance")):
            if some.any():
                axis.scatter(
                    shown[some], at[some], s=55, facecolor=fill, edgecolor=COLORS["blue"], label=text, zorder=2
                )
        if interval is not None:
            axis.hlines(at, *interval.sel(here).transpose("end", "model"), color=COLORS["blue"], lw=2, zorder=1)
        if chance is not None:
            axis.plot(chance.sel(here), at, "|", color=COLORS["red"], ms=13, mew=1.5, label="chance (95 %)")
        axis.axvline(0, color="k", lw=0.8, ls="--")
        axis.set_title(str(name), fontsize=10)
        axis.set(yticks=at, yticklabels=names, ylim=(len(names) - 0.4, -0.6))
    return _finish(figure, label, "", title)


def pictures(images: Sequence[ArrayLike], texts: Sequence[str], *, title: str, columns: int = 2) -> Figure:
    """Pictures, each with a text beside it.

    Parameters
    ----------
    images : sequence of arrays of shape (height, width, 3)
    texts : sequence of str
        One for each picture; lines are broken where they are too long.
    title : str
    columns : int
        Pictures in a row.

    Returns
    -------
    Figure
    """
    rows = -(-len(images) // columns)
    figure, axes = plt.subplots(rows, 2 * columns, figsize=(9, 0.4 + 2.1 * rows), width_ratios=[1, 1.3] * columns)
    for axis in axes.flat:
        axis.set_axis_off()
    for pictured, beside, image, text in zip(axes.flat[::2], axes.flat[1::2], images, texts, strict=False):
        pictured.imshow(image)
        wrapped = "\n".join(textwrap.fill(line, 28) for line in text.split("\n"))
        beside.text(0, 0.98, wrapped, va="top", fontsize=8.5, transform=beside.transAxes)
    figure.suptitle(title, fontweight="bold", x=0.02, ha="left")
    return figure


def null(draws: pd.DataFrame, observed: Mapping[str, float], *, xlabel: str, title: str, columns: int = 4) -> Figure:
    """What chance gives, as a histogram for each question, and what was observed, as a line.

    Parameters
    ----------
    draws : DataFrame of shape (draw, question)
    observed : mapping of str to float
        By the names of the columns.
    xlabel, title : str
    columns : int
        Panels in a row.

    Returns
    -------
    Figure
    """
    frame = draws.melt(var_name="question", value_name="value")
    figure, panels = _panels(frame, "question", columns)
    for name, axis, part in panels:
        sns.histplot(part["value"], bins=25, color=COLORS["gray"], ax=axis)
        axis.axvline(observed[name], color=COLORS["blue"], lw=2)
        axis.set(xlabel="", ylabel="")
    return _finish(figure, xlabel, "draws of chance", title)


def _panels(
    frame: pd.DataFrame, col: str | None, columns: int, sharey: bool = True
) -> tuple[Figure, list[tuple[Any, Axes, pd.DataFrame]]]:
    """A figure with one panel for each value of the column, titled by it."""
    parts = list(frame.groupby(col, sort=False)) if col else [("", frame)]
    n = min(columns, len(parts))
    rows = -(-len(parts) // n)
    size = (5.6, 3.4) if len(parts) == 1 else (9, 1 + 2.4 * rows)
    figure, axes = plt.subplots(rows, n, sharex=True, sharey=sharey, figsize=size, squeeze=False)
    for axis in axes.flat[len(parts) :]:
        axis.set_axis_off()
    for axis, (name, _) in zip(axes.flat, parts, strict=False):
        axis.set_title(str(name), fontsize=10)
    return figure, [(name, axis, part) for axis, (name, part) in zip(axes.flat, parts, strict=False)]


def _hues(frame: pd.DataFrame, hue: str | None) -> dict[Any, str]:
    names = list(frame[hue].unique()) if hue else [None]
    order = [name for name in COLORS if name != "gray"]
    return {name: COLORS[order[k % len(order)]] for k, name in enumerate(names)}


def _levels(axis: Axes, levels: Mapping[str, float] | None) -> None:
    for k, (name, level) in enumerate((levels or {}).items()):
        axis.axhline(level, color="k", lw=0.8, ls=("--", ":", "-.", "-")[k % 4], label=name)


def _finish(figure: Figure, xlabel: str, ylabel: str, title: str) -> Figure:
    """Labels of the whole figure, and one legend below it where there is something to tell apart."""
    figure.supylabel(ylabel, fontsize=10)
    figure.suptitle(title, fontweight="bold", x=0.02, ha="left")
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
