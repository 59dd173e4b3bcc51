"""Drawing. Nothing is computed here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from nilearn.plotting import plot_surf, plot_surf_stat_map

from brainalign import cortex

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
            "axes.prop_cycle": mpl.cycler(
                color=[COLORS[name] for name in ("blue", "orange", "green", "red", "purple", "sky")]
            ),
            "legend.frameon": False,
            "image.cmap": SEQUENTIAL,
        }
    )


def speech(
    time: np.ndarray,
    waveform: np.ndarray,
    spectrogram: np.ndarray,
    spectrogram_time: np.ndarray,
    words: pd.DataFrame,
    title: str,
) -> Figure:
    """A stretch of sound: waveform, spectrogram, and each word over the time it takes.

    Parameters
    ----------
    time, waveform : array of shape (sample,)
        s; full scale +-1.
    spectrogram : array of shape (frame, band)
    spectrogram_time : array of shape (frame,)
        s.
    words : DataFrame [word, onset, offset]
    title : str

    Returns
    -------
    Figure
    """
    figure, (top, bottom) = plt.subplots(2, sharex=True, figsize=(9, 4), height_ratios=(1, 1.4))
    top.plot(time, waveform, color=COLORS["gray"], lw=0.4)
    level = np.abs(waveform).max()
    for row, (word, onset, offset) in enumerate(words[["word", "onset", "offset"]].itertuples(index=False)):
        top.axvspan(onset, offset, color=COLORS["blue"], alpha=0.08 + 0.1 * (row % 2), lw=0)
        top.text((onset + offset) / 2, level * (1.12 + 0.28 * (row % 2)), word, ha="center", va="bottom", fontsize=8)
    top.set(ylabel="pressure\n(full scale)", ylim=(-level, 1.75 * level))
    top.set_title(title)
    shown = bottom.pcolormesh(
        spectrogram_time,
        np.arange(spectrogram.shape[1]),
        spectrogram.T,
        cmap="magma",
        shading="nearest",
        rasterized=True,
    )
    bottom.set(xlabel="time (s)", ylabel="mel band\n(low to high pitch)", xlim=(time[0], time[-1]))
    figure.colorbar(shown, ax=bottom, label="level (s.d.)", pad=0.01)
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
                avg_method="median",
                axes=axis,
                colorbar=False,
            )
            axis.set_box_aspect(None, zoom=1.4)
            axis.set_title(f"{name}, {view}" if view == views[0] else view, fontsize=10, y=0.94)
    shown = plt.cm.ScalarMappable(plt.Normalize(low, high), cmap)
    figure.colorbar(shown, ax=axes, label=label, shrink=0.7)
    figure.suptitle(title, fontweight="bold", x=0.02, ha="left")
    return figure


def layer_heatmap(axis: Axes, score: np.ndarray, rows: Sequence[float], *, label: str, row_label: str) -> None:
    """Scores of shape (channel, layer), channels ordered by a value such as distance, one line a channel."""
    order = np.argsort(np.asarray(rows))
    shown = axis.imshow(score[order], aspect="auto", interpolation="nearest", origin="lower", cmap=SEQUENTIAL)
    ticks = np.linspace(0, len(order) - 1, 6).astype(int)
    axis.set(xlabel="layer", ylabel=row_label)
    axis.set_yticks(ticks, [f"{np.asarray(rows)[order[tick]]:.0f}" for tick in ticks])
    axis.figure.colorbar(shown, ax=axis, label=label)


def with_band(axis: Axes, x, middle, low, high, *, color: str, label: str | None = None, **style) -> None:
    """A line with the band of its interval."""
    axis.plot(x, middle, color=color, label=label, **style)
    axis.fill_between(x, low, high, color=color, alpha=0.2, lw=0)
