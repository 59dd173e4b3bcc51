"""Drawing. Nothing is computed here."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.figure import Figure

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
    script = Path(__file__).with_name("surface_view.js").read_text(encoding="utf-8")
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


def _of_face(corners: np.ndarray) -> float:
    """The value of a triangle: the median of its corners that have one, if at least two have."""
    known = corners[np.isfinite(corners)]
    return float(np.median(known)) if len(known) > 1 else np.nan
