"""Precision: the arithmetic that the bound rests on is float32 or float64, whatever the caller has set for speed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

__all__ = ["full_precision"]


@contextlib.contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Matrix products inside are as precise as their dtype: no autocast, no TF32, no bfloat16 in float32 products.

    ``torch.set_float32_matmul_precision`` and ``torch.backends.cudnn.allow_tf32`` are set for the whole process while
    it lasts, and set back. Where a process has used the per-backend ``fp32_precision`` settings of newer torch beside
    them, torch refuses to read them, with an error that says so.

    Args:
        device: where the tensors are.

    Example:
        >>> import torch
        >>> with torch.autocast("cpu", torch.bfloat16), full_precision(torch.device("cpu")):
        ...     (torch.ones(2, 2) @ torch.ones(2, 2)).dtype
        torch.float32
    """
    matmul = torch.get_float32_matmul_precision()
    convolution = torch.backends.cudnn.allow_tf32
    try:
        if matmul != "highest":
            torch.set_float32_matmul_precision("highest")
        if convolution:
            torch.backends.cudnn.allow_tf32 = False
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        if matmul != "highest":
            torch.set_float32_matmul_precision(matmul)
        if convolution:
            torch.backends.cudnn.allow_tf32 = True
