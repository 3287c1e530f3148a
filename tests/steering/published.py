"""The published searches, written down literally: whole model, one vector and one prompt at a time.

Independent of `unmask.steering`: they use the model's own forward pass and plain hooks.
"""

import torch
from torch import Tensor


def hidden_at(model, ids, target: int, source: int, vector: Tensor | None) -> Tensor:
    """What enters block `target`, with a vector added to what enters block `source`."""
    blocks = model.model.layers
    caught = []

    def add(_, args, kwargs):
        if vector is None:
            return None
        return (args[0] + vector, *args[1:]), kwargs

    def catch(_, args):
        caught.append(args[0])

    handles = [
        blocks[source].register_forward_pre_hook(add, with_kwargs=True),
        blocks[target].register_forward_pre_hook(catch),
    ]
    try:
        model(input_ids=torch.tensor([ids]))
    finally:
        for handle in handles:
            handle.remove()
    return caught[0][0]


def melbo(
    model, prompts, source, target, radius, starts, steps, lr, n_read, p, q, over, orthogonal
):
    """Mack & Turner's loop: vectors in turn, AdamW on the sphere, optionally orthogonal."""
    learned = []
    for start in starts:
        theta = (radius * start / start.norm()).clone()
        if orthogonal and learned:
            u = torch.stack(learned, dim=1) / radius
            theta = theta - u @ (u.T @ theta)
            theta = radius * theta / theta.norm()
        theta.requires_grad_()
        adam = torch.optim.AdamW([theta], lr=lr, betas=(0.9, 0.98), weight_decay=0.0, amsgrad=True)
        for _ in range(steps):
            adam.zero_grad()
            loss = torch.zeros(())
            for ids in prompts:
                with torch.no_grad():
                    before = hidden_at(model, ids, target, source, None)[-n_read:]
                after = hidden_at(model, ids, target, source, theta)[-n_read:]
                dim = 1 if over == "stream" else 0
                total = (after - before).norm(dim=dim).pow(p).sum()
                loss = loss - total.pow(1 / q) / len(prompts)
            (grad,) = torch.autograd.grad(loss, theta)
            with torch.no_grad():
                grad = grad - (grad @ theta) * theta / radius**2
                if orthogonal and learned:
                    grad = grad - u @ (u.T @ grad)
            theta.grad = grad
            adam.step()
            with torch.no_grad():
                if orthogonal and learned:
                    theta.copy_(theta - u @ (u.T @ theta))
                theta.copy_(radius * theta / theta.norm())
        learned.append(theta.detach())
    return torch.stack(learned)


def delta(model, prompts, source, target, n_read):
    """Mean change over the last tokens and the prompts, as a function of the vector."""

    def change(theta: Tensor) -> Tensor:
        total = torch.zeros_like(theta)
        for ids in prompts:
            with torch.no_grad():
                before = hidden_at(model, ids, target, source, None)[-n_read:]
            after = hidden_at(model, ids, target, source, theta)[-n_read:]
            total = total + (after - before).mean(0) / len(prompts)
        return total

    return change


def exponential_dct(change, radius, v, u, steps, beta):
    """Mack & Turner's iteration with columns as factors, from given starting points."""
    for _ in range(steps):
        v, r = torch.linalg.qr(v)
        v = v * torch.sign(torch.diagonal(r))
        new_u, new_v = [], []
        for column in range(v.shape[1]):
            theta = (radius * v[:, column]).clone().requires_grad_()
            moved = change(theta)
            (grad,) = torch.autograd.grad(moved @ u[:, column], theta)
            mixed = beta * moved.detach() + (1 - beta) * u[:, column]
            new_u.append(mixed / mixed.norm())
            mixed = beta * radius * grad + (1 - beta) * v[:, column]
            new_v.append(mixed / mixed.norm())
        u, v = torch.stack(new_u, 1), torch.stack(new_v, 1)
    return v, u
