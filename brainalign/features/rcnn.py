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
from collections.abc import Iterator, Mapping
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
from torch.optim import Adam, Optimizer

from brainalign import assets
from brainalign._checks import alike, finite, listed, one_of, shaped, torch_device, whole, within
from brainalign._io import placed
from brainalign.features.images import batches, check_pictures, cosine

__all__ = ["NetworkConfig", "RecurrentNetwork", "Trained", "Twins", "predict", "preset", "train", "train_twins"]

FORMAT = 1  # of checkpoints: raise when the same configuration comes to mean another network or another training


@dataclass(frozen=True)
class NetworkConfig:
    """What a network is and how it is trained; `preset` has two ready-made ones."""

    channels: tuple[int, ...]  #: of each layer, from the lowest
    kernels: tuple[int, ...]  #: side of each layer's bottom-up kernels (odd, px)
    recurrent_kernels: tuple[int, ...]  #: the same of its lateral and top-down kernels
    strides: tuple[int, ...]  #: factor by which each layer's bottom-up input is made smaller
    time_steps: int
    image_size: int  #: height and width of pictures (px)
    n_targets: int  #: length of a target
    epochs: int  #: passes over the images
    warm_up: int  #: epochs in which the learning rate rises in a line; then it falls to 0 as a cosine
    batch_size: int
    learning_rate: float  #: of Adam, at its highest
    epsilon: float = 1e-8  #: the term in Adam's denominator
    l2: float = 1e-6  #: weight of the squared weights
    downsampling: str = "stride"  #: by the "stride" of the bottom-up convolution, or by "max" pooling before it
    norm: str = "channels"  #: taken over "channels" at each position, or over "all", channels and positions together
    top_down_delay: int = 1  #: time steps by which top-down connections start earlier
    output: str = "linear"  #: of the read-out: "linear", for embeddings, or through a "sigmoid", for categories
    shift: int = 0  #: px by which training pictures are moved in each direction at most, their border repeated
    mirror: bool = False  #: half of the training pictures, anew in each epoch; makes "left" in a caption wrong
    precision: str = "float32"  #: or "bfloat16": of convolutions while training; all else is in float32
    seed: int = 0  #: of the first weights, and with the epoch, of the order, shifts and mirrors of pictures

    def __post_init__(self) -> None:
        layers = {name: getattr(self, name) for name in ("channels", "kernels", "recurrent_kernels", "strides")}
        for name, values in layers.items():
            object.__setattr__(self, name, tuple(whole(name, value) for value in values))
        for name in (field.name for field in dataclasses.fields(self) if field.type == "int"):
            least = 0 if name in ("warm_up", "shift", "seed") else 1
            object.__setattr__(self, name, whole(name, getattr(self, name), least))
        one_of("downsampling", self.downsampling, ("stride", "max"))
        one_of("norm", self.norm, ("channels", "all"))
        one_of("output", self.output, ("linear", "sigmoid"))
        one_of("mirror", self.mirror, (True, False))
        one_of("precision", self.precision, ("float32", "bfloat16"))
        for name in ("learning_rate", "epsilon", *(["l2"] if self.l2 else [])):
            within(name, getattr(self, name), high=math.inf)
        alike(**layers)
        sides = self.kernels + self.recurrent_kernels
        if not all(side % 2 for side in sides):
            raise ValueError(f"kernels, recurrent_kernels: expected odd sides, got {sides}.")
        if self.image_size % (least := math.prod(self.strides)):
            raise ValueError(f"image_size: expected a multiple of {least}, all strides at once, got {self.image_size}.")
        whole("warm_up", self.warm_up, 0, self.epochs - 1)
        whole("shift", self.shift, 0, self.image_size - 1)


def preset(name: str, **changes: Any) -> NetworkConfig:
    """A ready-made configuration, with some fields changed, such as ``seed=3``.

    "small" trains on one core in about a minute, on three thousand pictures of 64 px. "paper" is the study's, made for
    48,236 pictures and a GPU. The article leaves open much of the network; where the training code that circulates with
    it is plain, we follow that: channels and kernels, max pooling before the fourth, fifth and tenth layer, layer norms
    over channels and positions, no biases, top-down input from two time steps earlier, the loss at every time step,
    squared weights counted 1e-6, mirrored pictures. This gives 52,950,368 weights, as many as a public account of the
    released networks counts. Ours are: shifts in place of the code's random crops (which it takes of test pictures
    too), no changes of brightness and colour, bfloat16, the rectifier after the norm, and the article's batches.
    """
    return NetworkConfig(**{**_PRESETS[one_of("name", name, _PRESETS)], **changes})


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

    Networks whose seed and body are the same start from the same weights, whatever the read-out.
    """

    colour_mean: torch.Tensor
    colour_scale: torch.Tensor

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config, self.image_size = config, config.image_size
        below = (3, *config.channels[:-1])
        steps = config.strides if config.downsampling == "stride" else (1,) * len(below)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.bottom_up = nn.ModuleList(map(_conv, below, config.channels, config.kernels, steps))
            self.lateral = nn.ModuleList(map(_conv, config.channels, config.channels, config.recurrent_kernels))
            self.top_down = nn.ModuleList(map(_conv, config.channels[1:], config.channels, config.recurrent_kernels))
            sides = (config.image_size // np.cumprod(config.strides)).tolist()
            self.norms = nn.ModuleList()
            for side, c in zip(sides, config.channels, strict=True):
                over = (c,) if config.norm == "channels" else (side, side, c)
                self.norms.append(nn.ModuleList(nn.LayerNorm(over) for _ in range(config.time_steps)))
            self.read_out = nn.Linear(config.channels[-1], config.n_targets)
            nn.init.xavier_uniform_(self.read_out.weight)
            nn.init.zeros_(self.read_out.bias)
        self.register_buffer("colour_mean", torch.full((3,), 127.5))
        self.register_buffer("colour_scale", torch.full((3,), 64.0))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def states(self, pixels: torch.Tensor) -> list[list[torch.Tensor]]:
        """What each layer holds: for each time step, a tensor (image, channel, row, column) of each layer.

        `pixels` are of the configuration's size, (image, size, size, 3), as `images.batches` makes sure.
        """
        config = self.config
        found: list[list[torch.Tensor]] = []
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
    folder: str | os.PathLike[str] | None = None,
    device: str = "auto",
) -> Trained:
    """Train a network, or go on with one that was begun.

    Parameters
    ----------
    images : array of shape (image, size, size, 3), uint8
    targets : array of shape (image, target)
        Embeddings, or categories as 0 and 1. As they are: whether their mean is removed is up to the caller.
    config : NetworkConfig
    held_out : (images, targets), optional
        Followed in the history; nothing is learned from them.
    folder : path, optional
        Of checkpoints: weights, optimiser and history are saved after each epoch, in a file that is named by a hash of
        configuration and data. If there is such a file, training goes on where it stopped, to the same numbers as
        without the stop: bit for bit on the CPU of one machine, on a GPU as far as cuDNN's deterministic kernels go.
        While another process trains the same network, this one waits for it. A file that is damaged or cannot be
        written, and a loss that is no longer finite are errors; what was there stays.
    device : str
        "cpu", "cuda", ...; "auto" takes CUDA where there is one.

    Returns
    -------
    Trained
        The network in evaluation mode, on the device.
    """
    images, targets = _check(images, targets, config)
    if held_out:
        held_out = _check(*held_out, config, "held_out ")
    place = torch_device(device)
    identity = {"format": FORMAT, **dataclasses.asdict(config), "data": _digest_data(images, targets, held_out)}
    network = _untrained(config, images).to(place)
    optimiser = Adam(network.parameters(), eps=config.epsilon, weight_decay=config.l2, foreach=False)
    name = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:20]
    path = None if folder is None else Path(folder) / f"{name}.safetensors"
    history = _restore(path, network, optimiser)
    if len(history) < config.epochs:
        with _alone(path) if path else contextlib.nullcontext(), _reproducibly():
            history = _restore(path, network, optimiser)  # another process may have been at it
            for epoch in range(len(history), config.epochs):
                loss = _one_epoch(network, optimiser, images, targets, epoch)
                score = cosine(predict(network, held_out[0]), held_out[1]).mean() if held_out else math.nan
                history.append([epoch + 1, optimiser.param_groups[0]["lr"], loss, float(score)])
                if path:
                    _save(path, identity, network, optimiser, history)
    columns = ["epoch", "learning_rate", "loss", "held_out"]
    return Trained(network.eval(), pd.DataFrame(history, columns=columns).astype({"epoch": int}))


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

    Networks of one seed start from the same weights and see the pictures in the same order.

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
    folder, device
        As in `train`; by default "networks" in the cache folder.
    n_jobs : int
        Networks that are trained side by side, on one thread each: to the same numbers as one after the other.

    Returns
    -------
    Twins
    """
    aims = {kind: np.asarray(target, dtype="float32") for kind, target in targets.items()}
    for kind, aim in aims.items():
        shaped(f"targets, {kind}", aim, len(pictures), "target")
    last = len(pictures) - whole("n_held_out", n_held_out, 1, len(pictures) - 1)
    usable = np.flatnonzero(np.all([aim.any(1) for aim in aims.values()], axis=0))
    learned, held_out = usable[usable < last], usable[usable >= last]
    seeds, shown = range(config.seed, config.seed + n_seeds), pictures[learned]
    trainings: dict[tuple[str, int], dict[str, Any]] = {}
    for kind, aim in aims.items():
        output = "sigmoid" if np.isin(aim, (0, 1)).all() else "linear"
        for seed in seeds:
            own = dataclasses.replace(config, n_targets=aim.shape[1], output=output, seed=seed)
            known = pictures[held_out], aim[held_out]
            trainings[kind, seed] = {"targets": aim[learned], "config": own, "held_out": known}
    (main, _), first = next(iter(trainings.items()))
    untrained = {("untrained", seed): _untrained(trainings[main, seed]["config"], shown) for seed in seeds}
    if control:
        wrong = np.random.default_rng(config.seed).permutation(learned)
        half = dataclasses.replace(first["config"], epochs=max(config.epochs // 2, config.warm_up + 1))
        trainings["control", config.seed] = {**first, "targets": aims[main][wrong], "config": half}
    place = Path(folder or assets.cache_dir() / "networks")
    same = {"folder": place, "device": device}
    try:
        found = Parallel(n_jobs=n_jobs)(delayed(train)(shown, **training, **same) for training in trainings.values())
    finally:
        if n_jobs != 1:
            get_reusable_executor().shutdown()  # idle processes would keep their memory
    trained = dict(zip(trainings, found, strict=True))
    networks = {key: one.network for key, one in trained.items()}
    networks |= {key: network.to(torch_device(device)).eval() for key, network in untrained.items()}
    networks = dict(sorted(networks.items(), key=lambda item: item[0][0] == "control"))  # which comes last
    history = pd.concat({key: one.history for key, one in trained.items()}, names=["trained on", "seed", ""])
    means = {kind: aim[learned].mean(0) for kind, aim in aims.items()}
    return Twins(networks, history.reset_index(level=[0, 1]), learned, held_out, means, place)


@torch.no_grad()
def predict(network: RecurrentNetwork, images: np.ndarray) -> xr.DataArray:
    """The network's read-out at its last time step, of shape (image, target)."""
    parts = [network(pixels)[-1].cpu().numpy() for pixels in batches(network, images)]
    return xr.DataArray(np.concatenate(parts), dims=("image", "target"))


def _untrained(config: NetworkConfig, images: np.ndarray) -> RecurrentNetwork:
    """A network with its first weights, and colours on the scale of these pictures."""
    network = RecurrentNetwork(config)
    pixels = images[:: max(1, len(images) // 256)].reshape(-1, 3)
    network.colour_mean.copy_(torch.as_tensor(pixels.mean(0)))
    network.colour_scale.copy_(torch.as_tensor(np.maximum(pixels.std(0), 1.0)))
    return network


def _one_epoch(
    network: RecurrentNetwork, optimiser: Optimizer, images: np.ndarray, targets: np.ndarray, epoch: int
) -> float:
    """One pass over the images; all that is random comes from the seed and the epoch. Returns the mean loss."""
    device, config = network.colour_mean.device, network.config
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
            break
    network.eval()
    if not math.isfinite(losses[-1]) or not all(bool(some.isfinite().all()) for some in network.parameters()):
        raise FloatingPointError(
            f"loss or weights are not finite in epoch {epoch + 1}; use a lower learning_rate or precision='float32'"
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
    for one, source, (top, left), flip in zip(moved, wide, offsets, flipped, strict=True):
        part = source[top : top + size, left : left + size]
        one[:] = part[:, ::-1] if flip and config.mirror else part
    return moved


@contextlib.contextmanager
def _reproducibly() -> Iterator[None]:
    """Run torch on one thread and with the same kernels every time."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=torch.backends.cudnn.allow_tf32):
            yield
    finally:
        torch.set_num_threads(threads)


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold a checkpoint against other processes, which would otherwise train the same network."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{path.name}.lock")):  # released by the system when its holder is killed
            yield
    except (OSError, SafetensorError) as error:
        raise OSError(
            f"cannot write the checkpoint {path}: {error}. Make room or name another folder; what is there stays valid."
        ) from error


def _save(
    path: Path, identity: dict[str, Any], network: RecurrentNetwork, optimiser: Optimizer, history: list[list[float]]
) -> None:
    tensors = {name: value.contiguous() for name, value in _tensors(network, optimiser).items()}
    metadata = {"identity": json.dumps(identity), "history": json.dumps(history), "sha256": _digest_tensors(tensors)}
    with placed(path) as temporary:
        temporary.write_bytes(save(tensors, metadata))


def _restore(path: Path | None, network: RecurrentNetwork, optimiser: Optimizer) -> list[list[float]]:
    """Load weights and optimiser of a checkpoint, if there is one; returns its history."""
    if path is None or not path.exists():
        return []
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        history = json.loads(metadata["history"])
        if _digest_tensors(stored) != metadata["sha256"]:
            raise ValueError("its numbers do not have their recorded SHA-256")
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise ValueError(
            f"checkpoint: {path} is damaged, or no checkpoint of this module ({type(error).__name__}: {error}); remove "
            "it, or name another folder."
        ) from error
    for name, parameter in network.named_parameters():
        if f"adam.step.{name}" in stored:  # Adam has none for what takes no part, such as lateral weights in one step
            moments = {key: torch.zeros_like(parameter) for key in ("exp_avg", "exp_avg_sq")}
            optimiser.state[parameter] = {"step": torch.tensor(0.0), **moments}
    with torch.no_grad():
        for name, value in _tensors(network, optimiser).items():
            value.copy_(stored[name])  # which keeps the layout in memory, and so the arithmetic
    return history


def _tensors(network: RecurrentNetwork, optimiser: Optimizer) -> dict[str, torch.Tensor]:
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


def _check(images: Any, targets: ArrayLike, config: NetworkConfig, which: str = "") -> tuple[np.ndarray, np.ndarray]:
    images = check_pictures(images, f"{which}images", config.image_size)
    targets = finite(f"{which}targets", shaped(f"{which}targets", targets, len(images), config.n_targets), "float32")
    empty = np.flatnonzero(~targets.any(1))
    if len(empty):
        raise ValueError(f"{which}targets: expected directions, got nothing but 0 in {listed(empty)}; leave these out.")
    return images, targets
