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

from brainalign._checks import torch_device
from brainalign.datasets.types import Stimuli
from brainalign.datasets.viewing_folder import load_stimuli
from brainalign.features import lesions

__all__ = [
    "learning_set",
    "ReadyMade",
    "activations",
    "cosine",
    "gabor_energies",
    "published_networks",
    "ready_made",
    "resize",
]

BATCH = 256  # pictures that are run at once


@torch.no_grad()
def activations(
    network: nn.Module, images: ArrayLike, layer: int = -1, time_step: int = -1, *, pooling: str = "mean"
) -> xr.DataArray:
    """What a layer of a network holds, for each picture.

    Parameters
    ----------
    network : RecurrentNetwork or ReadyMade
    images : array of shape (image, height, width, 3), uint8
        Of the size that a recurrent network sees (`resize`); a ready-made one brings them to size itself.
    layer, time_step : int
        Counted from 0, or from the last one backwards: -1, -2, ... Ready-made networks have one time step.
    pooling : {"mean", "class", "none"}
        "mean" is over positions (of a transformer, its patches): one feature a channel, which is what is read out of
        the last layer of a recurrent network. "class" is a transformer's class token. "none" keeps all positions.

    Returns
    -------
    DataArray of shape (image, feature)
        float32; without pooling, ``feature`` runs over channels, rows and columns, or tokens and channels, the last
        fastest.

    Raises
    ------
    ValueError
        For layers and time steps that the network does not have, an unknown pooling or a class token that is not there,
        and pictures of another dtype, shape or size.
    """
    if pooling not in ("mean", "class", "none"):
        raise ValueError(f"pooling: expected 'mean', 'class' or 'none', got {pooling!r}")
    parts = []
    for pixels in batches(network, images):
        states = network.states(pixels)  # type: ignore[operator]
        for name, value, held in (("time_step", time_step, states), ("layer", layer, states[0])):
            if not isinstance(value, (int, np.integer)) or not -len(held) <= value < len(held):
                raise ValueError(
                    f"{name}: expected a whole number from {-len(held)} to {len(held) - 1}, got {value!r}; the network "
                    f"has {len(held)}"
                )
        parts.append(_pooled(states[time_step][layer], pooling, getattr(network, "n_prefix", 0)).float().cpu().numpy())
    attrs = {"layer": layer % len(states[0]), "time_step": time_step % len(states), "pooling": pooling}
    return xr.DataArray(np.concatenate(parts), dims=("image", "feature"), attrs=attrs)


def cosine(predicted: ArrayLike, targets: ArrayLike, centre: ArrayLike = 0.0) -> np.ndarray:
    """Cosine of each prediction and its target.

    Parameters
    ----------
    predicted, targets : array of shape (image, target)
    centre : array of shape (target,), optional
        Subtracted from both: the training targets' mean, so that a prediction is not rewarded for what all targets have
        in common. A prediction that equals it has no direction; it scores 0.

    Returns
    -------
    array of shape (image,)

    Raises
    ------
    ValueError
        For arrays that are not two-dimensional and of one shape, or values that are not finite.
    """
    a, b = np.asarray(predicted, dtype=float), np.asarray(targets, dtype=float)
    if a.shape != b.shape or a.ndim != 2:
        raise ValueError(f"predicted, targets: expected two arrays (image, target) alike, got {a.shape} and {b.shape}")
    for name, values in (("predicted", a), ("targets", b)):
        if not np.isfinite(values).all():
            raise ValueError(
                f"{name}: {int((~np.isfinite(values)).sum())} values are not finite; leave these images out"
            )
    a, b = a - np.asarray(centre, dtype=float), b - np.asarray(centre, dtype=float)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.divide((a * b).sum(1), lengths, out=np.zeros(len(a)), where=lengths > 1e-12)


def resize(images: ArrayLike, size: int) -> np.ndarray:
    """The largest central square of each picture, in another size.

    Parameters
    ----------
    images : array of shape (image, height, width, 3), uint8
    size : int
        px.

    Returns
    -------
    array of shape (image, size, size, 3), uint8
        Resampled with antialiasing (bicubic).

    Raises
    ------
    ValueError
        For other shapes and dtypes.
    """
    images = check_pictures(images)
    if not isinstance(size, (int, np.integer)) or size < 1:
        raise ValueError(f"size: expected a whole number of px, 1 or more, got {size!r}")
    side = min(images.shape[1:3])
    top, left = ((length - side) // 2 for length in images.shape[1:3])
    square = images[:, top : top + side, left : left + side]
    if side == size:
        return np.ascontiguousarray(square)
    return np.stack([np.asarray(Image.fromarray(one).resize((size, size), Image.Resampling.BICUBIC)) for one in square])


def learning_set(source: str | os.PathLike[str] | Stimuli, size: int) -> Stimuli:
    """Pictures to train networks on, brought to one size, with both descriptions of them.

    Parameters
    ----------
    source : path or Stimuli
        A folder of yours, as `datasets.viewing_folder.load_stimuli` reads it; or rendered scenes.
    size : int
        px; pictures are brought to it as in `resize`.

    Returns
    -------
    Stimuli
        In the order in which the captions name the pictures.

    Raises
    ------
    ValueError
        As in `load_stimuli` and `resize`.
    """
    if not isinstance(source, Stimuli):
        return load_stimuli(source, lambda picture: resize(picture[None], size)[0])
    categories = source.categories.loc[source.captions["image"].unique()]
    return Stimuli(resize(source.images, size), source.captions, categories)


N_SCALES, N_ORIENTATIONS, GRID = 3, 4, 8


def gabor_energies(images: np.ndarray) -> np.ndarray:
    """How much of each orientation and scale there is in each part of the pictures.

    Luminance is reduced to 64 x 64 px and filtered with log-Gabor filters (Field 1987) of three scales (wavelengths of
    4, 8 and 16 px, bandwidth about two octaves) and four orientations; the amplitude is averaged in 8 x 8 cells.

    Parameters
    ----------
    images : array of shape (image, height, width, 3), uint8
        Square, of a height that is a multiple of 64.

    Returns
    -------
    array of shape (image, feature)
        float32; 768 features, in the order scale, orientation, row, column.

    Raises
    ------
    ValueError
        For other shapes.

    References
    ----------
    Field (1987). Relations between the statistics of natural images and the response properties of cortical cells.
    J. Opt. Soc. Am. A 4, 2379-2394.
    """
    side = 64
    if images.ndim != 4 or images.shape[3] != 3 or images.shape[1] != images.shape[2] or images.shape[1] % side:
        raise ValueError(f"images: expected (image, height, height, 3), height a multiple of 64, got {images.shape}.")
    step = images.shape[1] // side
    frequency = scipy.fft.fftfreq(side)
    radius, angle = np.hypot(*np.meshgrid(frequency, frequency)), np.arctan2(*np.meshgrid(frequency, frequency)[::-1])
    radius[0, 0] = 1.0  # no filter passes the mean
    filters = []
    for scale in range(N_SCALES):
        band = np.exp(-0.5 * (np.log(radius * 2 ** (scale + 2)) / np.log(1 / 0.55)) ** 2)
        band[0, 0] = 0
        for orientation in range(N_ORIENTATIONS):
            # one side of the spectrum only: the filtered picture is complex, and its modulus is the local amplitude
            away = np.angle(np.exp(1j * (angle - orientation * np.pi / N_ORIENTATIONS)))
            filters.append((band * np.exp(-0.5 * (away / 0.5) ** 2)).astype("float32"))
    found = np.empty((len(images), len(filters), GRID, GRID), dtype="float32")
    for start in range(0, len(images), 256):  # in parts: less memory
        part = images[start : start + 256].astype("float32") @ np.array([0.299, 0.587, 0.114], dtype="float32")
        part = part.reshape(len(part), side, step, side, step).mean((2, 4))
        spectrum = scipy.fft.fft2(part)
        for number, passed in enumerate(filters):
            amplitude = np.abs(scipy.fft.ifft2(spectrum * passed))
            cells = amplitude.reshape(len(part), GRID, side // GRID, GRID, side // GRID)
            found[start : start + len(part), number] = cells.mean((2, 4))
    return found.reshape(len(images), -1)


def published_networks() -> pd.DataFrame:
    """How well the study's network and 13 others match three regions of eight people's brains.

    Returns
    -------
    DataFrame [group, training_images, ventral, lateral, parietal]
        Indexed by the network's name. Scores are correlations of RDMs over noise ceiling, mean over people, copied from
        the code of Doerig et al. (2025), Nat. Mach. Intell. 7, Fig. 4e, where the authors wrote them down
        (``get_dnn_activities/trainingImgs_vs_brainMatch_scatter.py``). The group, what was learned, is ours: "sentence
        embeddings", "categories", or "other" (contrasts, hashtags, captions beside their pictures, scene geometry).
    """
    return pd.read_csv(Path(__file__).parents[1] / "data" / "published_networks.csv", index_col="network")


class ReadyMade(nn.Module):
    """A network whose weights were trained elsewhere; made by `ready_made`.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        Its output holds ``hidden_states``.
    processor : transformers image processor
        That brings pictures to what the model was trained on.
    """

    def __init__(self, model: nn.Module, processor: Any) -> None:
        super().__init__()
        self.model = model.eval()
        self.processor = processor
        self.n_prefix = 0  # tokens before those of the patches

    def states(self, pixels: torch.Tensor) -> list[list[torch.Tensor]]:
        """What each layer holds, as in `RecurrentNetwork.states`: its input first, of one time step.

        Layers are tensors of shape (image, channel, row, column), of transformers (image, token, channel).
        """
        # plain arrays, channels last, whatever the picture's size
        inputs = self.processor(list(pixels.cpu().numpy()), return_tensors="pt", input_data_format="channels_last")
        values = inputs["pixel_values"].to(pixels.device)
        held = list(self.model(values, output_hidden_states=True).hidden_states)
        patch = getattr(self.model.config, "patch_size", None)
        if held[0].ndim == 3 and isinstance(patch, int):
            self.n_prefix = held[0].shape[1] - (values.shape[2] // patch) * (values.shape[3] // patch)
        return [held]


def ready_made(model: str | os.PathLike[str], *, device: str = "auto") -> ReadyMade:
    """A network with weights of the reader's: ResNet, ConvNeXt, ViT, DINOv2, the image side of CLIP, and their like.

    Parameters
    ----------
    model : str or path
        A folder with weights, configuration and ``preprocessor_config.json`` as transformers saves them, or a name on
        the Hugging Face hub, such as "microsoft/resnet-50", "facebook/convnext-tiny-224",
        "google/vit-base-patch16-224-in21k", "facebook/dinov2-base" or "openai/clip-vit-base-patch32". Weights are read
        from safetensors only, and no remote code is run.
    device : str
        "cpu", "cuda", ...; "auto" takes CUDA where there is one.

    Returns
    -------
    ReadyMade
        For `activations`. Its layer 0 is what enters the first block.

    Raises
    ------
    ValueError
        If the model cannot be had, has no safetensors, needs code of its own, or is no image network.
    """
    from transformers import AutoImageProcessor, AutoModel  # takes seconds to import

    name, place = os.fspath(model), torch_device(device)
    offline = {"local_files_only": True} if Path(name).is_dir() else {}
    try:
        with lesions.no_progress_bar():
            loaded = AutoModel.from_pretrained(name, use_safetensors=True, trust_remote_code=False, **offline)
            processor = AutoImageProcessor.from_pretrained(name, trust_remote_code=False, use_fast=False, **offline)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise ValueError(
            f"model: {name!r} cannot be had as an image network ({type(error).__name__}: "
            f"{str(error).splitlines()[0]}). Pass a folder with config.json, model.safetensors and "
            "preprocessor_config.json, or a name on the Hugging Face hub that is in reach"
        ) from error
    return ReadyMade(getattr(loaded, "vision_model", loaded), processor).to(place)


def batches(network: nn.Module, images: ArrayLike) -> Iterator[torch.Tensor]:
    """Pictures in batches, on the network's device."""
    images = check_pictures(images)
    device = next(network.parameters()).device
    for start in range(0, len(images), BATCH):
        yield torch.from_numpy(np.array(images[start : start + BATCH])).to(device)


def check_pictures(images: ArrayLike, name: str = "images", size: int | None = None) -> np.ndarray:
    """Pictures as an array; ValueError unless they are uint8 (image, height, width, 3), of the size if one is given."""
    images = np.asarray(images)
    if images.ndim != 4 or images.shape[3] != 3 or images.dtype != np.uint8 or 0 in images.shape:
        raise ValueError(
            f"{name}: expected uint8 of shape (image, height, width, 3), got {images.dtype} of shape {images.shape}"
        )
    if size is not None and images.shape[1:3] != (size, size):
        raise ValueError(
            f"{name}: expected {size} x {size} px, got {images.shape[1]} x {images.shape[2]}; bring them to size with "
            f"images.resize(pictures, {size})"
        )
    return images


def _pooled(state: torch.Tensor, pooling: str, n_prefix: int) -> torch.Tensor:
    """A layer's numbers of shape (image, feature)."""
    tokens = state.ndim == 3
    if pooling == "class":
        if not (tokens and n_prefix):
            raise ValueError("pooling: this network has no class token; use 'mean' or 'none'")
        return state[:, 0]
    if pooling == "none":
        return state.flatten(1)
    return state[:, n_prefix:].mean(1) if tokens else state.mean((2, 3))
