"""Masks that stay with their speaker: their order is put right block by block, by where the sound comes from.

A mask estimator learns from segments of a second or two. In something longer it may give a speaker's second sentence to
another output than the first, and the statistics of a beamformer then mix both speakers. What a mask lets through has
phase differences between the microphones that belong to a place; the order of each block is the one whose differences
fit those of the other blocks best, found by alternating between prototypes and orders, as frequencies are aligned by
H. Sawada, S. Araki, S. Makino (IEEE TASLP 2011, section IV) for blind separation.

Axes: B batch, S speaker, M microphone, T frame, F frequency, K block, D = 2 (M - 1) F.
"""

from itertools import permutations

import torch
from torch import Tensor
from torch.nn import functional

#: Rounds after which orders have long settled.
ROUNDS = 10
EPSILON = 1e-10


def align_masks(masks: Tensor, spectrum: Tensor, block: int, reference: int = 0) -> Tensor:
    """Put the speakers' masks of each block of frames in one order.

    Args:
        masks: of the speakers, (B, S, T, F).
        spectrum: of the mixture, complex, (B, M, T, F), M at least 2.
        block: frames of a block.
        reference: the microphone that phases are compared with.

    Returns:
        The masks, (B, S, T, F); those of a single block as they were.
    """
    if masks.shape[2] <= block or masks.shape[1] == 1:
        return masks
    orders = torch.tensor(list(permutations(range(masks.shape[1]))), device=masks.device)
    aligned = []
    for mask, signature in zip(masks, _signatures(masks, spectrum, block, reference), strict=True):
        order = orders[_best_orders(signature, orders)].repeat_interleave(block, 0)[: masks.shape[2]]  # (T, S)
        aligned.append(mask.gather(0, order.T[:, :, None].expand_as(mask)))
    return torch.stack(aligned)


def _signatures(masks: Tensor, spectrum: Tensor, block: int, reference: int) -> Tensor:
    """The phase differences that each mask lets through in each block, weighted by level: (B, S, K, D).

    They are taken less their mean over all frames: what all places have in common would hide what they have not.
    """
    others = [index for index in range(spectrum.shape[1]) if index != reference]
    cross = spectrum[:, others] * spectrum[:, reference, None].conj()
    level = spectrum.abs().square().mean(1, keepdim=True).sqrt()  # (B, 1, T, F)
    phases = cross / (cross.abs() + EPSILON)
    phases = phases - (phases * level).sum(2, keepdim=True) / (level.sum(2, keepdim=True) + EPSILON)
    phases = torch.view_as_real(phases).movedim(-1, 2)  # (B, M - 1, 2, T, F)
    weights = masks * level
    missing = (0, 0, 0, -masks.shape[2] % block)
    weights = functional.pad(weights, missing).unflatten(2, (-1, block))
    phases = functional.pad(phases, missing).unflatten(3, (-1, block))
    return torch.einsum("bsktf,bmcktf->bskmcf", weights, phases).flatten(3)


def _best_orders(signatures: Tensor, orders: Tensor) -> Tensor:
    """For each block the number of the order (S! of them, (S!, S)) that fits the others', from (S, K, D)."""
    blocks = torch.arange(signatures.shape[1], device=signatures.device)
    best, found = -torch.inf, torch.zeros_like(blocks)
    # Each block's masks in turn are where the search begins.
    for start in range(len(blocks)):
        prototypes, chosen = signatures[:, start], found
        for _ in range(ROUNDS):
            directions = functional.normalize(prototypes, dim=1)
            fit = torch.einsum("skd,pd->ksp", signatures, directions)
            total = torch.stack([fit[:, order, range(len(order))].sum(1) for order in orders], dim=1)
            before, chosen = chosen, total.argmax(1)
            prototypes = torch.stack(
                [signatures[orders[chosen, speaker], blocks].sum(0) for speaker in range(len(directions))]
            )
            if torch.equal(before, chosen):
                break
        value = float(prototypes.norm(dim=1).sum())
        if value > best:
            best, found = value, chosen
    return found
