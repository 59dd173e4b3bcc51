"""Numbers and claims of a page: said in its text, shown where they are made, and left behind as files."""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from brainalign._io import placed
from brainalign.stats import Estimate

__all__ = ["Report"]


class Report:
    """The numbers of a page, by name, and what its text concludes from them.

    The text shows a number by the role ``glue:text``, with the prefix and its name and, after a colon, digits of its
    own choice, such as ``prefix.name:.2f``. A report that ends a cell shows what is new in it as a table, on the page
    and in JupyterLab, where these roles are raw text. Each number and claim is written to the folder when it is made.

    Parameters
    ----------
    folder : path
        Where ``numbers.json``, ``claims.json`` and figures go, relative to the working folder. What an earlier run left
        there of these is removed.
    prefix : str
        Begins each name in the text, such as "alice.".

    Examples
    --------
    >>> report = Report("results/example", prefix="alice.")
    >>> report.add(gain=Estimate(0.25, 0.18, 0.31, 27))
    >>> report.claim("the best layer adds to word rate", report["gain"].low > 0)
    True
    """

    def __init__(self, folder: str | os.PathLike[str], *, prefix: str = "") -> None:
        self.folder, self.prefix = Path(folder), prefix
        self.numbers: dict[str, Any] = {}
        self.claims: dict[str, bool] = {}
        self._shown: set[str] = set()
        for old in [*self.folder.glob("*.svg"), *self.folder.glob("*.json")]:
            old.unlink()
        self._write()

    def add(self, **numbers: Any) -> None:
        """Name numbers for the text, the table and ``numbers.json``.

        Each is one int, float, str, `Estimate` or array element. A name stands for one number only: one that is there
        already may come again with the same value.
        """
        from myst_nb import glue

        for name, number in numbers.items():
            value = _plain(name, number)
            old = self.numbers.setdefault(name, value)
            if old != value and (old == old or value == value):  # NaN is unlike itself
                raise ValueError(f"{name}: is {old!r} in this report; choose another name for {value!r}.")
            glue(self.prefix + name, value, display=False)
        self._write()

    def claim(self, text: str, holds: Any) -> bool:
        """State a conclusion of the page's text, and whether this run bears it; give the latter back.

        Where it does not, or compares with NaN, the table says "not so here"; a profile whose claims have to hold
        (`Profile.claims_hold`) then fails the build. `text` is the conclusion as one statement, as the page draws it.
        """
        if text in self.claims or np.ndim(holds) or not isinstance(holds, (bool, np.bool_)):
            raise ValueError(f"holds: expected one truth value for each claim, got {holds!r} for {text!r}.")
        self.claims[text] = bool(holds)
        self._write()
        return bool(holds)

    def figure(self, name: str, figure: Any) -> Any:
        """Keep a figure, or that of an Axes or a seaborn grid, as ``name.svg``; close it, and return it to be shown."""
        import matplotlib.pyplot as plt

        whole = getattr(figure, "figure", figure)
        whole.savefig(self.folder / f"{name}.svg", metadata={"Date": None})
        plt.close(whole)
        return whole

    def __getitem__(self, name: str) -> Any:
        return self.numbers[name]

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        """A table of what none has shown yet, claims first."""
        texts = {text: "holds" if held else "not so here" for text, held in self.claims.items()}
        texts |= {
            name: f"{value:.4g}" if isinstance(value, float) else str(value) for name, value in self.numbers.items()
        }
        new = [key for key in texts if key not in self._shown]
        self._shown |= set(new)
        rows = [(self.prefix + key if key in self.numbers else key, texts[key]) for key in new]
        cells = "".join(f"<tr><td>{escape(key)}</td><td>{escape(value)}</td></tr>" for key, value in rows)
        plain = "\n".join(f"{key}: {value}" for key, value in rows)
        return {"text/html": f'<table class="dataframe report"><tbody>{cells}</tbody></table>', "text/plain": plain}

    def _write(self) -> None:
        numbers = {name: asdict(v) if isinstance(v, Estimate) else v for name, v in self.numbers.items()}
        for file, content in (("numbers.json", numbers), ("claims.json", self.claims)):
            with placed(self.folder / file) as partial:
                partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _plain(name: str, number: Any) -> Any:
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise ValueError(f"{name}: expected small letters, digits and underscores in a name.")
    if isinstance(number, (str, bool, Estimate)):
        return number
    values = np.asarray(number)
    if values.size != 1 or values.dtype.kind not in "biufU":
        raise ValueError(f"{name}: expected one number, text or Estimate, got {type(number).__name__} {values.shape}.")
    return values.item()
