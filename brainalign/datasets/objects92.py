"""Human inferior temporal cortex, 92 object images (Kriegeskorte et al. 2008).

The published files hold no captions. The three of each image in ``objects92_captions.csv`` are ours: written from the
image alone by a multimodal language model, in the manner of COCO's annotators, before any score was computed, and not
changed since. So they have one writer, where COCO's have five.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from scipy.io import loadmat

from brainalign import assets
from brainalign.datasets.types import Viewing

N_IMAGES = 92
SUBJECTS = ("BE", "KO", "SN", "TI")
SESSIONS = (1, 2)
CAPTIONS = Path(__file__).parents[1] / "data" / "objects92_captions.csv"

MODELS = {
    "animacy": "categories",
    "FaceBodyManmadeNatobj": "categories",
    "monkeyIT": "monkey neurons",
    "EVA": "human fMRI",
    "HMAX": "image model",
    "V1": "image model",
    "Silhouette": "image model",
    "RADON": "image model",
}
"""The published model RDMs, in the order of their file, and what each is computed from."""


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

    Raises
    ------
    brainalign.assets.AssetError
        If the files cannot be had, or only damaged ones.
    ValueError
        If their content is not what it should be.

    Notes
    -----
    What to know before interpreting:

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
    recorded = _load("92_brainRDMs.mat")["RDMs"]
    expected = [[f"hIT | {subject} | Session: {session}" for session in SESSIONS] for subject in SUBJECTS]
    if recorded["name"].tolist() != expected:
        raise ValueError(f"92_brainRDMs.mat: expected the RDMs {expected}, got {recorded['name'].tolist()}.")
    rdms = [[_condense(entry["RDM"], entry["name"]) for entry in of_subject] for of_subject in recorded]
    images = np.arange(N_IMAGES)
    return Viewing(
        name="objects92",
        captions=pd.read_csv(CAPTIONS),
        test_images=images.tolist(),
        space="hIT",
        images=xr.DataArray(
            np.stack(list(supplement["stimuli_92objs"]["image"])),
            dims=("image", "height", "width", "colour"),
            coords={"image": images},
        ),
        categories=pd.DataFrame(
            supplement["categoryVectors"].astype(bool),
            index=pd.Index(images, name="image"),
            columns=supplement["categoryLabels"].tolist(),
        ),
        rdms=xr.DataArray(
            np.array(rdms),
            dims=("subject", "session", "pair"),
            coords={"subject": list(SUBJECTS), "session": list(SESSIONS)},
            attrs={"units": "1 - Pearson r"},
        ),
    )


def model_rdms() -> xr.DataArray:
    """The eight RDMs that were published with the data, to compare with.

    Returns
    -------
    DataArray of shape (model, pair)
        Pairs as in ``numpy.triu_indices(92, 1)``. Named as in the file; the coordinate `kind` says what each is
        computed from. Their scales differ: compare ranks.

        - "animacy" and "FaceBodyManmadeNatobj": 0 within, 1 between the two and the four categories.
        - "monkeyIT": 1 - Pearson correlation over 674 neurons of monkey inferior temporal cortex.
        - "EVA": no model, but early visual areas of humans (rsatoolbox's demonstrations call it so). It may share noise
          with `objects92`'s RDMs, so it is no clean baseline for them.
        - "HMAX", "V1" and "RADON": computed from the images.
        - "Silhouette": 1 - Pearson correlation of the pixels, 1 where an image differs from its grey background, 0
          elsewhere.

    Raises
    ------
    brainalign.assets.AssetError
        If the file cannot be had, or only a damaged one.
    ValueError
        If its content is not what it should be.

    References
    ----------
    Kriegeskorte et al. (2008), see `objects92`.
    """
    published = _load("92_modelRDMs.mat")["Models"]
    if published["name"].tolist() != list(MODELS):
        raise ValueError(f"92_modelRDMs.mat: expected the RDMs {list(MODELS)}, got {published['name'].tolist()}.")
    return xr.DataArray(
        np.array([_condense(entry["RDM"], entry["name"]) for entry in published]),
        dims=("model", "pair"),
        coords={"model": list(MODELS), "kind": ("model", list(MODELS.values()))},
    )


def _load(file: str) -> dict[str, np.ndarray]:
    return loadmat(assets.fetch("objects92", [file]) / file, squeeze_me=True)


def _condense(matrix: np.ndarray, name: str) -> np.ndarray:
    """The pairs of an RDM, of shape (pair,), if it is one."""
    matrix = np.asarray(matrix, dtype=float)
    if matrix.shape != (N_IMAGES, N_IMAGES):
        raise ValueError(f"RDM {name!r}: expected shape ({N_IMAGES}, {N_IMAGES}), got {matrix.shape}.")
    if not ((matrix >= 0) & (matrix <= 2)).all():  # NaN fails too
        raise ValueError(f"RDM {name!r}: expected values from 0 to 2, got {matrix.min()} to {matrix.max()}.")
    if (matrix != matrix.T).any() or matrix.diagonal().any():
        raise ValueError(f"RDM {name!r}: expected a symmetric matrix with zeros on its diagonal.")
    return matrix[np.triu_indices(N_IMAGES, 1)]
