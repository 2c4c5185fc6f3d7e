"""AdamW whose steps do not outrun their second moments, with a warm-up."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer


class StableAdamW(Optimizer):
    """AdamW (Loshchilov & Hutter, ICLR 2019) with update clipping (Wortsman et al., "Stable and low-precision training
    for large-scale vision-language models", NeurIPS 2023, algorithm 2).

    A tensor whose gradients have outgrown the mean of their squares takes a step that is smaller by the root of the
    mean square of their ratio. The learning rate rises over the first steps.

    Args:
        parameters: what is trained.
        lr: learning rate after the warm-up.
        weight_decay: times the learning rate, of every weight, at each step.
        warmup_steps: over which the rate rises linearly, 0 or more.
        betas: decay of the means of gradients and of their squares.
        eps: added to the root of the mean square.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        *,
        lr: float,
        weight_decay: float,
        warmup_steps: int = 0,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-10,
    ) -> None:
        chosen = {"weight_decay": weight_decay, "warmup_steps": warmup_steps, "betas": betas, "eps": eps}
        super().__init__(parameters, {"lr": lr, "steps": 0, **chosen})

    @property
    def steps(self) -> int:
        """How many were taken, those before a checkpoint included."""
        return int(self.param_groups[0]["steps"])

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # noqa: ARG002 - nobody evaluates anew
        """Take a step along the gradients that the parameters have."""
        for group in self.param_groups:
            group["steps"] += 1
            for p in group["params"]:
                if p.grad is not None:
                    self._move(p, p.grad, group)

    def _move(self, p: torch.Tensor, g: torch.Tensor, group: dict[str, Any]) -> None:
        state, t = self.state[p], group["steps"]
        if not state:
            state["v"], state["u"] = torch.zeros_like(p), torch.zeros_like(p)
        (beta1, beta2), v, u = group["betas"], state["v"], state["u"]
        v.lerp_(g, 1 - beta1)
        u.mul_(beta2).addcmul_(g, g, value=1 - beta2)
        u_hat = u / (1 - beta2**t)
        rms = (g.square() / u_hat.clamp_min(group["eps"] ** 2)).mean().sqrt()
        lr = group["lr"] * min(1.0, t / max(1, group["warmup_steps"])) / rms.clamp_min(1.0)
        p.mul_(1 - lr * group["weight_decay"]).sub_(lr * (v / (1 - beta1**t)) / (u_hat.sqrt() + group["eps"]))
