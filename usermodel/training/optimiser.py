"""The optimiser, and what happens to gradients before it sees them."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from usermodel.training.recipe import TrainingConfig


def build(config: TrainingConfig, modules: nn.Module) -> torch.optim.Optimizer:
    """Adam or AdamW over all weights, fused."""
    kind = torch.optim.AdamW if config.optimiser == "adamw" else torch.optim.Adam
    return kind(modules.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True)


@torch.no_grad()
def scale_and_clip(parameters: Iterable[Tensor], scale: Tensor | None, clip_norm: float | None) -> Tensor:
    """Multiply all gradients by ``scale`` (None: by 1), then shorten them together to a length of at most ``clip_norm``.

    Returns:
        Length of the scaled gradient before it was shortened, a scalar; not finite if any gradient is not.
    """
    grads = [weight.grad for weight in parameters if weight.grad is not None]
    if not grads:
        return torch.zeros(())
    norm: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(grads)))
    if scale is not None:
        norm = norm * scale
    if clip_norm is not None:
        clip = torch.clamp(clip_norm / norm.clamp(min=1e-12), max=1.0)
        scale = clip if scale is None else clip * scale
    if scale is not None:
        torch._foreach_mul_(grads, scale)
    return norm
