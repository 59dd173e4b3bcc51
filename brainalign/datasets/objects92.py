"""Human inferior temporal cortex, 92 object images (Kriegeskorte et al. 2008).

The published files hold no captions. The three of each image in ``objects92_captions.csv`` are ours: written from the
image alone by a multimodal language model, in the manner of COCO's annotators, before any score was computed, and not
changed since. So they have one writer, where COCO's have five.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from scipy.io import loadmat
from scipy.spatial.distance import squareform

from brainalign import assets
from brainalign.datasets.types import Viewing

CAPTIONS = Path(__file__).parents[1] / "data" / "objects92_captions.csv"


def objects92() -> Viewing:
    """RDMs of human inferior temporal cortex (hIT) of four people, two sessions each, for 92 images of objects.

    Images 0 to 47 are animate, in four dozens: human bodies, human faces, animals' bodies, animals' faces. 48 to 70 are
    natural objects, 71 to 91 artificial ones.

    Returns
    -------
    Viewing
        `captions`, three for each image 0 to 91; `images` (image, height, width, colour), 175 x 175 pixels on grey
        (128); `categories` (image, label), the 12 published labels; `rdms` (subject, session, pair), 1 - Pearson
        correlation of the response patterns. No responses: voxels were not published. Every image is a test image.

    Notes
    -----
    - "body" holds parts (hands, an ear, an eye, the back of a head) and, of animals, whole bodies. "natObj" and
      "artiObj" hold scenes and buildings too (a lake, a waterfall, a barn among trees; a skyline, a church, a house).
      "inanim" is short for inanimate, "nonhumani" for nonhuman animate.
    - "rand24", "rand48" and "other48", sets without an evident theme, hold 22, 46 and 46 images despite their names;
      the last two share none.
    - Image 27, a wolf, looks like a flat cut-out figure.
    - The sessions of a person agree weakly: Spearman correlation 0.28 (BE), 0.10 (KO), 0.38 (SN), 0.12 (TI).

    References
    ----------
    Kriegeskorte, Mur, Ruff, Kiani, Bodurka, Esteky, Tanaka & Bandettini (2008). Matching categorical object
    representations in inferior temporal cortex of man and monkey. Neuron 60, 1126-1141. Files as distributed with
    rsatoolbox (MIT licence).
    """
    supplement = _load("Kriegeskorte_Neuron2008_supplementalData.mat")
    recorded = _load("92_brainRDMs.mat")["RDMs"]  # named "hIT | BE | Session: 1"
    pictures = np.stack(list(supplement["stimuli_92objs"]["image"]))
    images = pd.RangeIndex(len(pictures), name="image")
    labels = supplement["categoryLabels"].tolist()
    return Viewing(
        name="objects92",
        captions=pd.read_csv(CAPTIONS),
        test_images=images.tolist(),
        space="hIT",
        images=xr.DataArray(pictures, {"image": images}, ("image", "height", "width", "colour")),
        categories=pd.DataFrame(supplement["categoryVectors"].astype(bool), index=images, columns=labels),
        rdms=xr.DataArray(
            [[squareform(rdm) for rdm in sessions["RDM"]] for sessions in recorded],
            {"subject": [sessions["name"][0].split(" | ")[1] for sessions in recorded], "session": [1, 2]},
            ("subject", "session", "pair"),
            attrs={"units": "1 - Pearson r"},
        ),
    )


def model_rdms() -> xr.DataArray:
    """The eight RDMs that were published with the data, to compare with.

    Returns
    -------
    DataArray of shape (model, pair)
        Pairs as in ``numpy.triu_indices(92, 1)``; their scales differ: compare ranks. "animacy" and
        "FaceBodyManmadeNatobj" are 0 within, 1 between the two and the four categories; "monkeyIT" is 1 - Pearson
        correlation over 674 neurons of monkey inferior temporal cortex; "EVA" no model, but early visual areas of
        humans (rsatoolbox's demonstrations call it so), which may share noise with `objects92`'s RDMs; "HMAX", "V1" and
        "RADON" are computed from the images, "Silhouette" from where they differ from their grey background.
    """
    published = _load("92_modelRDMs.mat")["Models"]
    rdms = [squareform(rdm) for rdm in published["RDM"]]
    return xr.DataArray(rdms, {"model": published["name"].tolist()}, ("model", "pair"))


def _load(file: str) -> dict[str, Any]:
    return loadmat(assets.fetch("objects92", [file]) / file, squeeze_me=True)
