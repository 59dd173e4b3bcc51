"""A recurrent convolutional network that is trained to see in sentences, and its twin that sees categories.

The idea is that of Doerig et al. (2025), "High-level visual representations in the human brain are aligned with large
language models", Nat. Mach. Intell. 7: a network maps a picture to the sentence embedding of its captions, and what its
last layer makes of pictures is compared with brains. Its twin has the same body, with the same weights before training,
and learns which categories are in the picture.

Each layer adds up three convolutions: *bottom-up*, of the layer below at the same time step; *lateral*, of itself one
time step earlier; *top-down*, of the layer above one or more time steps earlier, brought to its size by nearest
neighbours. Then come a layer norm, with a scale and shift of its own for each time step, and a rectifier.
A linear read-out of the last layer's mean over positions, one for all time steps, gives the target's numbers; a sigmoid
follows for categories. The loss is one less the cosine of read-out and target, the mean over images and time steps.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
import xarray as xr
from filelock import FileLock
from joblib import Parallel, delayed
from joblib.externals.loky import get_reusable_executor
from numpy.typing import ArrayLike
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn
from torch.nn import functional as F
from tqdm import tqdm

from brainalign import assets
from brainalign._checks import torch_device
from brainalign._io import placed
from brainalign.features.images import batches, check_pictures, cosine

__all__ = [
    "NetworkConfig",
    "RecurrentNetwork",
    "Trained",
    "Twins",
    "predict",
    "preset",
    "train",
    "train_all",
    "train_twins",
]

FORMAT = 1  # of checkpoints: raise when the same configuration comes to mean another network or another training


@dataclass(frozen=True)
class NetworkConfig:
    """What a network is and how it is trained; `preset` has two ready-made ones.

    Parameters
    ----------
    channels, kernels, recurrent_kernels, strides : tuple of int
        Of each layer, from the lowest: channels; side of the kernels (odd, px) of its bottom-up, and of its lateral and
        top-down convolutions; the factor by which its bottom-up input is made smaller.
    downsampling : {"stride", "max"}
        By the stride of the bottom-up convolution, or by max pooling before it.
    norm : {"channels", "all"}
        What a layer norm is taken over: channels, at each position, with a scale and shift a channel; or channels and
        positions together, with a scale and shift for each of both.
    time_steps, top_down_delay : int
        Time steps; how many of them earlier top-down connections start.
    image_size, n_targets : int
        Height and width of pictures (px); length of a target.
    output : {"linear", "sigmoid"}
        What follows the read-out: nothing, for embeddings, or a sigmoid, for categories.
    learning_rate, epsilon, l2 : float
        Of Adam: rate at its highest, the term in the denominator, and the weight of the squared weights.
    epochs, warm_up : int
        Passes over the images; in the first `warm_up` of them the rate rises in a line, then it falls to 0 as a cosine.
    batch_size : int
    shift : int
        Training pictures are moved at random by up to so many px in each direction, their border repeated.
    mirror : bool
        Half of the training pictures, drawn anew in each epoch, are mirrored, which makes "left" in a caption wrong.
    precision : {"float32", "bfloat16"}
        Of convolutions while training; weights, loss and optimiser are in float32, as is everything after training.
    seed : int
        Of the first weights, and with the epoch, of the order, shifts and mirrors of pictures.

    Raises
    ------
    ValueError
        For sizes that fit no network.
    """

    channels: tuple[int, ...]
    kernels: tuple[int, ...]
    recurrent_kernels: tuple[int, ...]
    strides: tuple[int, ...]
    time_steps: int
    image_size: int
    n_targets: int
    epochs: int
    warm_up: int
    batch_size: int
    learning_rate: float
    epsilon: float = 1e-8
    l2: float = 1e-6
    downsampling: str = "stride"
    norm: str = "channels"
    top_down_delay: int = 1
    output: str = "linear"
    shift: int = 0
    mirror: bool = False
    precision: str = "float32"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("channels", "kernels", "recurrent_kernels", "strides"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
            values = getattr(self, name)
            if not values or len(values) != len(self.channels) or not all(_whole(value, 1) for value in values):
                raise ValueError(f"{name}: expected a whole number, 1 or more, for each layer, got {values}")
        if not all(kernel % 2 for kernel in self.kernels + self.recurrent_kernels):
            raise ValueError(
                f"kernels, recurrent_kernels: expected odd sides, got {self.kernels} and {self.recurrent_kernels}"
            )
        for name, least in _LEAST.items():
            if not _whole(getattr(self, name), least):
                raise ValueError(f"{name}: expected a whole number, {least} or more, got {getattr(self, name)!r}")
        if self.image_size % math.prod(self.strides):
            raise ValueError(
                f"image_size: expected a multiple of the product of the strides, {math.prod(self.strides)}, got "
                f"{self.image_size}"
            )
        if self.warm_up >= self.epochs or self.shift >= self.image_size:
            raise ValueError(
                "warm_up, shift: expected fewer than the epochs and than image_size, got "
                f"{self.warm_up} of {self.epochs} and {self.shift} of {self.image_size}"
            )
        for name, least in (("learning_rate", 0.0), ("epsilon", 0.0), ("l2", -1e-300)):
            value = getattr(self, name)
            if not (isinstance(value, (int, float)) and least < value < math.inf):
                raise ValueError(f"{name}: expected a positive number, got {value!r}")
        for name, known in _CHOICES.items():
            if getattr(self, name) not in known:
                raise ValueError(f"{name}: expected one of {known}, got {getattr(self, name)!r}")


_LEAST = {
    "time_steps": 1, "image_size": 1, "n_targets": 1, "epochs": 1, "warm_up": 0, "batch_size": 1, "top_down_delay": 1,
    "shift": 0, "seed": 0,
}  # fmt: skip
_CHOICES = {
    "downsampling": ("stride", "max"), "norm": ("channels", "all"), "output": ("linear", "sigmoid"),
    "precision": ("float32", "bfloat16"), "mirror": (True, False),
}  # fmt: skip


def preset(name: str, **changes: Any) -> NetworkConfig:
    """A ready-made configuration.

    Parameters
    ----------
    name : {"small", "paper"}
        "small" trains on one core in about a minute, on three thousand pictures of 64 px. "paper" is the
        study's: 10 layers, 128 px, 6 time steps; Adam with learning rate 0.05 and epsilon 0.1, 200 epochs of which 10
        warm up, cosine decay, batches of 96, half precision; made for 48,236 pictures and a GPU.
    **changes
        Fields that differ, such as ``seed=3`` or, for the twin, ``output="sigmoid", n_targets=80``.

    Returns
    -------
    NetworkConfig

    Raises
    ------
    ValueError
        For an unknown name or an impossible configuration.

    Notes
    -----
    The article leaves open much of the network. For "paper" we follow the training code that circulates with it where
    that is plain: channels and kernels of the ten layers, max pooling before the fourth, fifth and tenth, layer norms
    over channels and positions, no biases, top-down input from two time steps earlier, the loss at every time step,
    squared weights counted 1e-6, mirrored pictures. The network then has 52,950,368 weights, as many as a public
    account of the released ones counts. Ours are: shifts in place of the code's random crops (which it takes of test
    pictures too), no changes of brightness and colour, bfloat16, and the rectifier after the norm. The code's own
    settings show batches of 256, the article 96.
    """
    if name not in _PRESETS:
        raise ValueError(f"name: expected one of {', '.join(_PRESETS)}, got {name!r}")
    fields = [field.name for field in dataclasses.fields(NetworkConfig)]
    unknown = [key for key in changes if key not in fields]
    if unknown:
        raise ValueError(f"changes: {unknown} are no fields of a configuration; it has {fields}")
    return NetworkConfig(**{**_PRESETS[name], **changes})


_PRESETS: dict[str, dict[str, Any]] = {
    "small": {
        "channels": (32, 64, 128), "kernels": (7, 3, 3), "recurrent_kernels": (3, 3, 3), "strides": (4, 2, 2),
        "time_steps": 3, "image_size": 64, "n_targets": 768, "epochs": 15, "warm_up": 2, "batch_size": 48,
        "learning_rate": 0.003, "shift": 6, "mirror": True,
    },
    "paper": {
        "channels": (32, 32, 64, 64, 128, 128, 256, 256, 512, 512), "kernels": (7, 7, 5, 5, 3, 3, 3, 3, 1, 1),
        "recurrent_kernels": (7, 7, 5, 5, 3, 3, 3, 3, 1, 1),
        "strides": (1, 1, 1, 2, 2, 1, 1, 1, 1, 2), "downsampling": "max", "norm": "all", "time_steps": 6,
        "top_down_delay": 2, "image_size": 128, "n_targets": 768, "epochs": 200, "warm_up": 10, "batch_size": 96,
        "learning_rate": 0.05, "epsilon": 0.1, "shift": 12, "mirror": True, "precision": "bfloat16",
    },
}  # fmt: skip


class RecurrentNetwork(nn.Module):
    """The network that a configuration describes, with its first weights.

    Parameters
    ----------
    config : NetworkConfig
        Networks whose seed and body are the same start from the same weights, whatever the read-out.
    """

    colour_mean: torch.Tensor
    colour_scale: torch.Tensor

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        below = (3, *config.channels[:-1])
        steps = config.strides if config.downsampling == "stride" else (1,) * len(below)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.bottom_up = nn.ModuleList(map(_conv, below, config.channels, config.kernels, steps))
            self.lateral = nn.ModuleList(map(_conv, config.channels, config.channels, config.recurrent_kernels))
            self.top_down = nn.ModuleList(map(_conv, config.channels[1:], config.channels, config.recurrent_kernels))
            self.norms = nn.ModuleList(
                nn.ModuleList(nn.LayerNorm(shape) for _ in range(config.time_steps)) for shape in _norm_shapes(config)
            )
            self.read_out = nn.Linear(config.channels[-1], config.n_targets)
            nn.init.xavier_uniform_(self.read_out.weight)
            nn.init.zeros_(self.read_out.bias)
        self.register_buffer("colour_mean", torch.full((3,), 127.5))
        self.register_buffer("colour_scale", torch.full((3,), 64.0))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def states(self, pixels: torch.Tensor) -> list[list[torch.Tensor]]:
        """What each layer holds at each time step.

        Parameters
        ----------
        pixels : tensor of shape (image, size, size, 3), uint8

        Returns
        -------
        list over time steps of lists over layers of tensors (image, channel, row, column)

        Raises
        ------
        ValueError
            For pictures of another size.
        """
        config = self.config
        found: list[list[torch.Tensor]] = []
        if pixels.shape[1:3] != (config.image_size,) * 2:
            raise ValueError(
                f"images: the network sees {config.image_size} x {config.image_size} px, got {pixels.shape[1]} x "
                f"{pixels.shape[2]}; bring them to size with images.resize(pictures, {config.image_size})"
            )
        picture = ((pixels.float() - self.colour_mean) / self.colour_scale).permute(0, 3, 1, 2)
        seen = self._upwards(0, picture)  # the picture does not change
        for time in range(config.time_steps):
            now: list[torch.Tensor] = []
            for layer in range(len(config.channels)):
                total = seen if layer == 0 else self._upwards(layer, now[-1])
                if time > 0:
                    total = total + self.lateral[layer](found[time - 1][layer])
                if time >= config.top_down_delay and layer + 1 < len(config.channels):
                    above = self.top_down[layer](found[time - config.top_down_delay][layer + 1])
                    total = total + F.interpolate(above, size=total.shape[2:], mode="nearest")
                normed = self.norms[layer][time](total.permute(0, 2, 3, 1))  # type: ignore[index]
                now.append(F.relu(normed).permute(0, 3, 1, 2))
            found.append(now)
        return found

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Read-outs of shape (time step, image, target)."""
        last = torch.stack([layers[-1].float().mean((2, 3)) for layers in self.states(pixels)])
        with torch.autocast(last.device.type, enabled=False):
            out = self.read_out(last)
        return out.sigmoid() if self.config.output == "sigmoid" else out

    def _upwards(self, layer: int, below: torch.Tensor) -> torch.Tensor:
        stride = self.config.strides[layer]
        if self.config.downsampling == "max" and stride > 1:
            below = F.max_pool2d(below, stride)
        return self.bottom_up[layer](below)


def _norm_shapes(config: NetworkConfig) -> list[tuple[int, ...]]:
    """What each layer's norm is taken over, of shape (row, column, channel) or (channel,)."""
    sides = (config.image_size // np.cumprod(config.strides)).tolist()
    return [
        (c,) if config.norm == "channels" else (side, side, c) for side, c in zip(sides, config.channels, strict=True)
    ]


def _conv(below: int, channels: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    conv = nn.Conv2d(below, channels, kernel, stride, kernel // 2, bias=False)
    nn.init.xavier_uniform_(conv.weight)
    return conv


class Trained(NamedTuple):
    """A network, and a DataFrame [epoch, learning_rate, loss, held_out] of its training.

    ``loss`` is the mean over the epoch's batches; ``held_out`` the mean cosine of read-out (last time step) and target
    over the held-out images after the epoch, NaN if there are none.
    """

    network: RecurrentNetwork
    history: pd.DataFrame


def train(
    images: np.ndarray,
    targets: ArrayLike,
    config: NetworkConfig,
    *,
    held_out: tuple[np.ndarray, ArrayLike] | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    device: str = "auto",
    threads: int = 1,
    progress: bool = False,
) -> Trained:
    """Train a network, or go on with one that was begun.

    Parameters
    ----------
    images : array of shape (image, size, size, 3), uint8
        Of the configuration's size.
    targets : array of shape (image, target)
        Embeddings, or categories as 0 and 1. As they are: whether their mean is removed is up to the caller.
    config : NetworkConfig
    held_out : (images, targets), optional
        Followed in the history; nothing is learned from them.
    checkpoint : path, optional
        File that holds weights, optimiser and history after each epoch (safetensors, nothing that could run code); or
        a folder that is there, in which the file is named by a hash of configuration and data. If there is such a file,
        training goes on where it stopped, to the same numbers as without the stop: bit for bit on the CPU of one
        machine, on a GPU as far as cuDNN's deterministic kernels go. If it is finished, nothing is trained; while
        another process trains the same network, this one waits for it.
    device : str
        "cpu", "cuda", ...; "auto" takes CUDA where there is one.
    threads : int
        On the CPU. Numbers depend on it in their last digits. Small networks train best one on each core.
    progress : bool
        Show a progress bar.

    Returns
    -------
    Trained
        The network in evaluation mode, on the device.

    Raises
    ------
    ValueError
        For pictures of another size or dtype, targets of another length or dimension, that are not finite or zero
        throughout; a checkpoint of another configuration or of other data, or one that is damaged. Files stay as
        they are.
    OSError
        If the checkpoint cannot be written. The one of the epoch before stays.
    FloatingPointError
        If the loss is no longer finite; the checkpoint of the epoch before stays.
    """
    images, targets = _check(images, targets, config)
    if held_out is not None:
        held_out = _check(*held_out, config, "held_out ")
    place = torch_device(device)
    identity = {"format": FORMAT, **dataclasses.asdict(config), "data": _digest_data(images, targets, held_out)}
    network = _untrained(config, images).to(place)
    optimiser = torch.optim.Adam(
        network.parameters(), lr=config.learning_rate, eps=config.epsilon, weight_decay=config.l2, foreach=False
    )
    history: list[list[float]] = []
    if checkpoint is not None:
        checkpoint = Path(checkpoint)
        if checkpoint.is_dir():
            name = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:20]
            checkpoint = checkpoint / f"{name}.safetensors"
        if checkpoint.exists():
            history = _restore(checkpoint, identity, network, optimiser)
    with contextlib.ExitStack() as held:
        if checkpoint is not None and len(history) < config.epochs:
            held.enter_context(_alone(checkpoint))
            if checkpoint.exists():  # another process may have been at it
                history = _restore(checkpoint, identity, network, optimiser)
        held.enter_context(_reproducibly(threads))
        epochs = range(len(history), config.epochs)
        for epoch in tqdm(epochs, disable=not progress, initial=len(history), total=config.epochs, desc="epochs"):
            loss = _one_epoch(network, optimiser, images, targets, epoch, place)
            score = math.nan
            if held_out is not None:
                score = float(cosine(predict(network, held_out[0]), held_out[1]).mean())
            history.append([epoch + 1, optimiser.param_groups[0]["lr"], loss, score])
            if checkpoint is not None:
                _save(checkpoint, identity, network, optimiser, history)
    columns = ["epoch", "learning_rate", "loss", "held_out"]
    return Trained(network.eval(), pd.DataFrame(history, columns=columns).astype({"epoch": int}))


def train_all(trainings: Sequence[dict[str, Any]], *, n_jobs: int = 2, **options: Any) -> list[Trained]:
    """Train several networks, so many at once.

    Parameters
    ----------
    trainings : sequence of dict
        The arguments of `train` for each network: ``{"images": ..., "targets": ..., "config": ...}``.
    n_jobs : int
        Processes side by side; on a small machine two of one thread each do more than one of two. 1 starts none.
    **options
        Arguments of `train` that are the same for all networks.

    Returns
    -------
    list of Trained
        As `train` would return them one after the other, to the last digit.
    """
    if n_jobs == 1:
        return [train(**training, **options) for training in trainings]
    try:
        return Parallel(n_jobs=n_jobs)(delayed(train)(**training, **options) for training in trainings)
    finally:
        get_reusable_executor().shutdown()  # idle processes would keep their memory


class Twins(NamedTuple):
    """Networks that differ in what they learned and in nothing else, as `train_twins` makes them.

    ``networks`` are by kind and seed, in evaluation mode: the kinds of targets, then "untrained" and, where asked for,
    "control"; ``history`` is a DataFrame [trained on, seed, epoch, learning_rate, loss, held_out]; ``learned`` and
    ``held_out`` are rows of the pictures; ``means`` the mean target of the pictures learned from, by kind; ``folder``
    holds the checkpoints.
    """

    networks: dict[tuple[str, int], RecurrentNetwork]
    history: pd.DataFrame
    learned: np.ndarray
    held_out: np.ndarray
    means: dict[str, np.ndarray]
    folder: Path


def train_twins(
    pictures: np.ndarray,
    targets: Mapping[str, ArrayLike],
    config: NetworkConfig,
    *,
    n_seeds: int = 3,
    n_held_out: int = 300,
    control: bool = False,
    folder: str | os.PathLike[str] = "",
    n_jobs: int = 2,
    device: str = "auto",
) -> Twins:
    """Train networks of the same build on each kind of target.

    Networks of one seed start from the same weights and see the pictures in the same order. A network that is finished
    in the folder is not trained again.

    Parameters
    ----------
    pictures : array of shape (image, size, size, 3), uint8
    targets : mapping of str to array of shape (image, target)
        By kind. Networks for targets of 0 and 1 end in a sigmoid. Pictures that have a target of nothing but 0 are left
        out.
    config : NetworkConfig
        Its seed is that of the first networks; `n_targets` and `output` follow from the targets.
    n_seeds : int
        Networks of each kind.
    n_held_out : int
        The last so many pictures, from which none learns.
    control : bool
        Train one more on the first kind of target for half as many epochs, with the targets of other pictures.
    folder : path
        Of checkpoints; by default "networks" in the cache folder.
    n_jobs, device
        As in `train_all` and `train`.

    Returns
    -------
    Twins

    Raises
    ------
    ValueError
        For targets of another length, no picture to learn from or to hold out, or as in `train`.
    """
    aims = {kind: np.asarray(target, dtype="float32") for kind, target in targets.items()}
    if any(aim.ndim != 2 or len(aim) != len(pictures) for aim in aims.values()) or not 0 < n_held_out < len(pictures):
        raise ValueError(
            f"targets, n_held_out: expected rows for {len(pictures)} pictures, of which some are held out, some not; "
            f"got {[aim.shape for aim in aims.values()]} and {n_held_out}"
        )
    usable = np.flatnonzero(np.all([aim.any(1) for aim in aims.values()], axis=0))
    learned, held_out = usable[usable < len(pictures) - n_held_out], usable[usable >= len(pictures) - n_held_out]
    seeds, trainings = range(config.seed, config.seed + n_seeds), []
    configs: dict[tuple[str, int], NetworkConfig] = {}
    for kind, aim in aims.items():
        output = "sigmoid" if np.isin(aim, (0, 1)).all() else "linear"
        own = dataclasses.replace(config, n_targets=aim.shape[1], output=output)
        configs |= {(kind, seed): dataclasses.replace(own, seed=seed) for seed in seeds}
    for (kind, _), own in configs.items():
        known = pictures[held_out], aims[kind][held_out]
        trainings.append({"targets": aims[kind][learned], "config": own, "held_out": known})
    untrained = {("untrained", seed): _untrained(configs[next(iter(aims)), seed], pictures[learned]) for seed in seeds}
    keys = list(configs)
    if control:
        kind, wrong = keys[0][0], np.random.default_rng(config.seed).permutation(learned)
        half = dataclasses.replace(configs[keys[0]], epochs=max(config.epochs // 2, config.warm_up + 1))
        trainings.append({"targets": aims[kind][wrong], "config": half, "held_out": trainings[0]["held_out"]})
        keys.append(("control", config.seed))
    place = Path(folder or assets.cache_dir() / "networks")
    place.mkdir(parents=True, exist_ok=True)
    found = train_all(trainings, images=pictures[learned], n_jobs=n_jobs, checkpoint=place, device=device)
    trained = dict(zip(keys, found, strict=True))
    networks = {key: one.network for key, one in trained.items() if key[0] != "control"}
    networks |= {key: network.to(torch_device(device)).eval() for key, network in untrained.items()}
    networks |= {key: one.network for key, one in trained.items() if key[0] == "control"}
    history = pd.concat({key: one.history for key, one in trained.items()}, names=["trained on", "seed", ""])
    means = {kind: aim[learned].mean(0) for kind, aim in aims.items()}
    return Twins(networks, history.reset_index(level=[0, 1]), learned, held_out, means, place)


@torch.no_grad()
def predict(network: RecurrentNetwork, images: np.ndarray) -> xr.DataArray:
    """The network's read-out at its last time step, of shape (image, target)."""
    parts = [network(pixels)[-1].cpu().numpy() for pixels in batches(network, images)]
    return xr.DataArray(np.concatenate(parts), dims=("image", "target"))


# Training ------------------------------------------------------------------------------------------------------------


def _untrained(config: NetworkConfig, images: np.ndarray) -> RecurrentNetwork:
    """A network with its first weights, and colours on the scale of these pictures."""
    network = RecurrentNetwork(config)
    pixels = images[:: max(1, len(images) // 256)].reshape(-1, 3)
    network.colour_mean.copy_(torch.as_tensor(pixels.mean(0)))
    network.colour_scale.copy_(torch.as_tensor(np.maximum(pixels.std(0), 1.0)))
    return network


def _one_epoch(
    network: RecurrentNetwork,
    optimiser: torch.optim.Optimizer,
    images: np.ndarray,
    targets: np.ndarray,
    epoch: int,
    device: torch.device,
) -> float:
    """One pass over the images; all that is random comes from the seed and the epoch. Returns the mean loss."""
    config = network.config
    rng = np.random.default_rng([config.seed, epoch])
    order = rng.permutation(len(images))
    starts = range(0, len(order), config.batch_size)
    losses = []
    network.train()
    for number, start in enumerate(starts):
        some = order[start : start + config.batch_size]
        for group in optimiser.param_groups:
            group["lr"] = _rate(config, epoch + number / len(starts))
        pixels = torch.from_numpy(_moved(images[some], config, rng)).to(device)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=config.precision == "bfloat16"):
            out = network(pixels)
        aims = torch.from_numpy(targets[some]).to(device)
        loss = 1 - F.cosine_similarity(out, aims[None], dim=-1).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):
            raise FloatingPointError(
                f"the loss is {losses[-1]} in epoch {epoch + 1}; use a lower learning_rate or precision='float32'"
            )
    network.eval()
    if not all(bool(parameter.isfinite().all()) for parameter in network.parameters()):
        raise FloatingPointError(
            f"weights are no longer finite after epoch {epoch + 1}; use a lower learning_rate or precision='float32'"
        )
    return float(np.mean(losses))


def _rate(config: NetworkConfig, epoch: float) -> float:
    """The learning rate after so many epochs."""
    if epoch < config.warm_up:
        steps = 20 * config.warm_up  # never quite 0
        return config.learning_rate * (1 + epoch / config.warm_up * (steps - 1)) / steps
    done = (epoch - config.warm_up) / (config.epochs - config.warm_up)
    return config.learning_rate * (1 + math.cos(math.pi * done)) / 2


def _moved(images: np.ndarray, config: NetworkConfig, rng: np.random.Generator) -> np.ndarray:
    """Pictures shifted and mirrored at random."""
    reach, size = config.shift, config.image_size
    offsets = rng.integers(0, 2 * reach + 1, (len(images), 2))
    flipped = rng.random(len(images)) < 0.5
    wide = np.pad(images, ((0, 0), (reach, reach), (reach, reach), (0, 0)), mode="edge") if reach else images
    moved = np.empty_like(images)
    for one, whole, (top, left), flip in zip(moved, wide, offsets, flipped, strict=True):
        part = whole[top : top + size, left : left + size]
        one[:] = part[:, ::-1] if flip and config.mirror else part
    return moved


@contextlib.contextmanager
def _reproducibly(threads: int) -> Iterator[None]:
    """Run torch with so many threads and the same kernels every time."""
    before = torch.get_num_threads(), torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    torch.set_num_threads(threads)
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = before[1:]


# Checkpoints ---------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold a checkpoint against other processes, which would otherwise train the same network."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path.with_name(f".{path.name}.lock"))  # released by the system when its holder is killed
        lock.acquire()
    except OSError as error:
        raise OSError(f"cannot write the checkpoint {path}: {error}. Name another file") from error
    try:
        yield
    finally:
        lock.release()


def _save(
    path: Path,
    identity: dict[str, Any],
    network: RecurrentNetwork,
    optimiser: torch.optim.Optimizer,
    history: list[list[float]],
) -> None:
    tensors = {name: value.contiguous() for name, value in _tensors(network, optimiser).items()}
    metadata = {
        "identity": json.dumps(identity),
        "history": json.dumps(history),
        "sha256": _digest_tensors(tensors),
    }
    try:
        with placed(path) as temporary:
            temporary.write_bytes(save(tensors, metadata))
    except (OSError, SafetensorError) as error:
        raise OSError(
            f"cannot write the checkpoint {path}: {error}. Make room or name another file; what is there stays valid"
        ) from error


def _restore(
    path: Path, identity: dict[str, Any], network: RecurrentNetwork, optimiser: torch.optim.Optimizer
) -> list[list[float]]:
    """Load weights and optimiser of a checkpoint of the same training; returns its history."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        written = json.loads(metadata["identity"])
        history = json.loads(metadata["history"])
        if _digest_tensors(stored) != metadata["sha256"]:
            raise ValueError("its numbers do not have their recorded SHA-256")
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise ValueError(
            f"checkpoint: {path} is damaged, or no checkpoint of this module ({type(error).__name__}: {error}); remove "
            "it, or name another file"
        ) from error
    written = {key: tuple(value) if isinstance(value, list) else value for key, value in written.items()}
    different = [key for key in identity if identity[key] != written.get(key)]
    if different:
        parts = [
            "other pictures or targets" if key == "data" else f"{key} {written.get(key)} (here {identity[key]})"
            for key in different
        ]
        raise ValueError(
            f"checkpoint: {path} was trained with {', '.join(parts)}; name another file for this training, or remove it"
        )
    for name, parameter in network.named_parameters():
        if f"adam.step.{name}" in stored:  # Adam has none for what takes no part, such as lateral weights in one step
            optimiser.state[parameter] = {
                "step": torch.tensor(0.0),
                "exp_avg": torch.zeros_like(parameter),
                "exp_avg_sq": torch.zeros_like(parameter),
            }
    with torch.no_grad():
        for name, value in _tensors(network, optimiser).items():
            value.copy_(stored[name])  # which keeps the layout in memory, and so the arithmetic
    optimiser.param_groups[0]["lr"] = history[-1][1]
    return history


def _tensors(network: RecurrentNetwork, optimiser: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """All that training changes, by name; not copies."""
    found = {f"network.{name}": value for name, value in network.state_dict().items()}
    for name, parameter in network.named_parameters():
        found |= {f"adam.{key}.{name}": value for key, value in optimiser.state[parameter].items()}
    return found


def _digest_tensors(tensors: dict[str, torch.Tensor]) -> str:
    total = hashlib.sha256()
    for name in sorted(tensors):
        total.update(name.encode() + tensors[name].cpu().contiguous().numpy().tobytes())
    return total.hexdigest()


def _digest_data(*arrays: Any) -> str:
    total = hashlib.sha256()
    for array in arrays:
        if isinstance(array, tuple):
            total.update(_digest_data(*array).encode())
        elif array is not None:
            total.update(f"{array.shape}{array.dtype}".encode() + np.ascontiguousarray(array).tobytes())
    return total.hexdigest()


# Checks -------------------------------------------------------------------------------------------------------------


def _check(
    images: np.ndarray, targets: ArrayLike, config: NetworkConfig, which: str = ""
) -> tuple[np.ndarray, np.ndarray]:
    images = check_pictures(images, f"{which}images", config.image_size)
    targets = np.asarray(targets, dtype="float32")
    if targets.shape != (len(images), config.n_targets):
        raise ValueError(
            f"{which}targets: expected shape {(len(images), config.n_targets)}, one row a picture, n_targets "
            f"columns, got {targets.shape}"
        )
    bad = ~np.isfinite(targets).all(1)
    if bad.any():
        raise ValueError(f"{which}targets: {bad.sum()} rows are not finite, first {np.flatnonzero(bad)[:5].tolist()}")
    empty = ~targets.any(1)
    if empty.any():
        raise ValueError(
            f"{which}targets: {empty.sum()} rows are zero throughout, first {np.flatnonzero(empty)[:5].tolist()}; they "
            "have no direction, so leave these pictures out"
        )
    return images, targets


def _whole(value: Any, least: int) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool) and bool(value >= least)
