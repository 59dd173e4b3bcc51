"""What many rooms ask of an argument."""

from __future__ import annotations

import torch


def torch_device(device: str | torch.device, *, double: bool = False) -> torch.device:
    """The device of that name; "auto" is CUDA where torch finds it. ValueError where it is not there.

    With `double`, only what computes in double precision.
    """
    name = str(device)
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"device: {name!r} was asked for, but torch finds no CUDA device; use 'auto' or 'cpu'")
    try:
        found = torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device: expected 'auto' or a device that is there, such as 'cpu', got {name!r}") from error
    if double and found.type not in ("cpu", "cuda"):
        raise ValueError(f"device: expected 'auto', 'cpu' or 'cuda' (double precision is needed), got {name!r}")
    return found
