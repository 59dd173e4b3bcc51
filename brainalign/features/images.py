"""Pictures as numbers: what the layers of image networks make of them.

Two kinds of networks have the same manners here: the recurrent ones of `features.rcnn`, which are trained from
scratch, and ready-made ones, whose weights were trained elsewhere. Pictures are uint8 (image, height, width, 3).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.fft
import torch
import xarray as xr
from numpy.typing import ArrayLike
from PIL import Image
from torch import nn

from brainalign._checks import finite, shaped, torch_device, whole
from brainalign.datasets.folder import load_stimuli
from brainalign.datasets.types import Stimuli
from brainalign.features import lesions

__all__ = ["activations", "cosine", "gabor_energies", "learning_set", "published_networks", "ready_made", "resize"]

BATCH = 256  # pictures that are run at once


@torch.no_grad()
def activations(network: nn.Module, images: ArrayLike, layer: int = -1, time_step: int = -1) -> xr.DataArray:
    """What a layer of a network holds, for each picture: the mean over positions (of a transformer, its patches).

    Of a `RecurrentNetwork`, which sees pictures of its own size only (`resize`), or of one from `ready_made`, which
    brings them to size itself: (image, feature) in float32, one feature a channel. `layer` and `time_step` count from
    0, or from the last one backwards: -1, -2, ... Ready-made networks have one time step.
    """
    parts = []
    for pixels in batches(network, images):
        states = network.states(pixels)  # type: ignore[operator]
        at = whole("time_step", time_step, -len(states), len(states) - 1)
        state = states[at][whole("layer", layer, -len(states[0]), len(states[0]) - 1)]
        pooled = state[:, network.n_prefix :].mean(1) if state.ndim == 3 else state.mean((2, 3))
        parts.append(pooled.float().cpu().numpy())
    return xr.DataArray(np.concatenate(parts), dims=("image", "feature"))


def cosine(predicted: ArrayLike, targets: ArrayLike, centre: ArrayLike = 0.0) -> np.ndarray:
    """Cosine of each prediction and its target, both (image, target), of shape (image,).

    `centre`, of shape (target,), is subtracted from both: the training targets' mean, so that a prediction is not
    rewarded for what all targets have in common. A prediction that equals it has no direction; it scores 0.
    """
    a = finite("predicted", shaped("predicted", predicted, "image", "target"))
    b = finite("targets", shaped("targets", targets, *a.shape))
    a, b = a - np.asarray(centre, dtype=float), b - np.asarray(centre, dtype=float)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.divide((a * b).sum(1), lengths, out=np.zeros(len(a)), where=lengths > 1e-12)


def resize(images: ArrayLike, size: int) -> np.ndarray:
    """The largest central square of each picture (uint8), in another size, antialiased (bicubic).

    From arrays of shape (image, height, width, 3) to (image, size, size, 3).
    """
    images = check_pictures(images)
    size, side = whole("size", size), min(images.shape[1:3])
    top, left = ((length - side) // 2 for length in images.shape[1:3])
    square = images[:, top : top + side, left : left + side]
    return np.stack([np.asarray(Image.fromarray(one).resize((size, size), Image.Resampling.BICUBIC)) for one in square])


def learning_set(source: str | os.PathLike[str] | Stimuli, size: int) -> Stimuli:
    """Pictures to train networks on, brought to one size as in `resize`, with both descriptions of them.

    The source is a folder of yours, as `datasets.folder.load_stimuli` reads it, or rendered scenes; pictures
    come in the order in which the captions name them.
    """
    if not isinstance(source, Stimuli):
        return load_stimuli(source, lambda picture: resize(picture[None], size)[0])
    categories = source.categories.loc[source.captions["image"].unique()]
    return Stimuli(resize(source.images, size), source.captions, categories)


N_SCALES, N_ORIENTATIONS, GRID = 3, 4, 8


def gabor_energies(images: np.ndarray) -> np.ndarray:
    """How much of each orientation and scale there is in each part of square pictures, of shape (image, feature).

    Luminance is reduced to 64 x 64 px, of which the height has to be a multiple, and filtered with log-Gabor filters
    (Field 1987, J. Opt. Soc. Am. A 4) of three scales (wavelengths of 4, 8 and 16 px, bandwidth about two octaves) and
    four orientations; the amplitude is averaged in 8 x 8 cells. 768 features (float32), in the order scale,
    orientation, row, column.
    """
    images, side = check_pictures(images), 64
    height, width = images.shape[1:3]
    if height != width or height % side:
        raise ValueError(
            f"images: expected (image, height, height, 3), height a multiple of 64, got {images.shape}; resize them."
        )
    frequency = scipy.fft.fftfreq(side)
    across, down = np.meshgrid(frequency, frequency)
    radius, angle = np.hypot(across, down), np.arctan2(down, across)
    radius[0, 0] = 1.0  # no filter passes the mean
    scale, orientation = np.ogrid[2 : N_SCALES + 2, :N_ORIENTATIONS]
    band = np.exp(-0.5 * (np.log(radius * 2 ** scale[..., None, None]) / np.log(1 / 0.55)) ** 2)
    band[..., 0, 0] = 0
    # one side of the spectrum only: the filtered picture is complex, and its modulus is the local amplitude
    away = np.angle(np.exp(1j * (angle - orientation[..., None, None] * np.pi / N_ORIENTATIONS)))
    filters = (band * np.exp(-0.5 * (away / 0.5) ** 2)).astype("float32").reshape(-1, side, side)
    found = []
    for start in range(0, len(images), 32):  # in parts: less memory
        part = images[start : start + 32].astype("float32") @ np.array([0.299, 0.587, 0.114], dtype="float32")
        part = part.reshape(len(part), 1, side, height // side, side, height // side).mean((3, 5))
        amplitude = np.abs(scipy.fft.ifft2(scipy.fft.fft2(part) * filters))
        found.append(amplitude.reshape(len(part), -1, side // GRID, GRID, side // GRID).mean((2, 4)))
    return np.concatenate(found).reshape(len(images), -1)


def published_networks() -> pd.DataFrame:
    """How well the study's network and 13 others match three regions of eight people's brains, one row a network.

    Scores are correlations of RDMs over noise ceiling, mean over people, copied from the code of Doerig et al. (2025),
    Nat. Mach. Intell. 7, Fig. 4e, where the authors wrote them down
    (``get_dnn_activities/trainingImgs_vs_brainMatch_scatter.py``). The group, what was learned, is ours: "sentence
    embeddings", "categories", or "other" (contrasts, hashtags, captions beside their pictures, scene geometry).
    """
    return pd.read_csv(Path(__file__).parents[1] / "data" / "published_networks.csv", index_col="network")


class _ReadyMade(nn.Module):
    """A network whose weights were trained elsewhere."""

    def __init__(self, model: nn.Module, processor: Any) -> None:
        super().__init__()
        self.model = model.eval()
        self.processor = processor
        self.n_prefix = 0  # tokens before those of the patches

    def states(self, pixels: torch.Tensor) -> list[list[torch.Tensor]]:
        """What each layer holds, its input first, of one time step; of transformers (image, token, channel)."""
        # plain arrays, channels last, whatever the picture's size
        inputs = self.processor(list(pixels.cpu().numpy()), return_tensors="pt", input_data_format="channels_last")
        values = inputs["pixel_values"].to(pixels.device)
        held = list(self.model(values, output_hidden_states=True).hidden_states)
        patch = getattr(self.model.config, "patch_size", None)
        if held[0].ndim == 3 and isinstance(patch, int):
            self.n_prefix = held[0].shape[1] - (values.shape[2] // patch) * (values.shape[3] // patch)
        return [held]


def ready_made(model: str | os.PathLike[str], *, device: str = "auto") -> nn.Module:
    """A network with weights of the reader's, for `activations`: ResNet, ConvNeXt, ViT, DINOv2, CLIP's image side, ...

    `model` is a folder with weights, configuration and ``preprocessor_config.json`` as transformers saves them, or a
    name on the Hugging Face hub, such as "microsoft/resnet-50", "facebook/dinov2-base" or
    "openai/clip-vit-base-patch32". Weights are read from safetensors only, and no remote code is run. Layer 0 is what
    enters the first block.
    """
    from transformers import AutoImageProcessor, AutoModel  # takes seconds to import

    name, place = os.fspath(model), torch_device(device)
    try:
        with lesions.no_progress_bar():
            loaded = AutoModel.from_pretrained(name, use_safetensors=True, trust_remote_code=False)
            processor = AutoImageProcessor.from_pretrained(name, trust_remote_code=False, use_fast=False)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise ValueError(
            f"model: expected an image network with config.json, model.safetensors and preprocessor_config.json, got "
            f"{name!r}, which cannot be had ({type(error).__name__}: {str(error).splitlines()[0]}); pass another."
        ) from error
    return _ReadyMade(getattr(loaded, "vision_model", loaded), processor).to(place)


def batches(network: nn.Module, images: ArrayLike) -> Iterator[torch.Tensor]:
    """Pictures in batches, on the network's device."""
    images = check_pictures(images, size=getattr(network, "image_size", None))
    device = next(network.parameters()).device
    for start in range(0, len(images), BATCH):
        yield torch.from_numpy(np.array(images[start : start + BATCH])).to(device)


def check_pictures(images: ArrayLike, name: str = "images", size: int | None = None) -> np.ndarray:
    """Pictures as an array; ValueError unless they are uint8 (image, height, width, 3), of the size if one is given."""
    images = shaped(name, images, "image", size or "height", size or "width", 3)
    if images.dtype != np.uint8 or not images.size:
        raise ValueError(
            f"{name}: expected pictures of uint8, got {images.dtype} of shape {images.shape}; convert them."
        )
    return images
