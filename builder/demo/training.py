"""Training of the small network against L2 perturbations (or plainly, with a radius of 0).

The network begins with an average pool, so training sees pooled images only. The gradient through
an average pool is constant on each block, so the strongest L2 perturbation of the 224 x 224 image
is too (but for clipping): attacking the pooled image with ``radius / POOL`` is the same attack.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, cross_entropy, dropout

from builder.images.decode import decode
from builder.network.convnet import MEAN, POOL, STD, SmallConvNet
from builder.storage.files import atomic_write


@dataclass(frozen=True)
class Recipe:
    """How to train.

    Eight classes are too few to force a network to tell a thing from its company: one feature that
    fires on a class's object *and* on its cue serves as well as two. Four mild pressures make up
    for the thousand classes of ImageNet; none of them sees the planted truth.

    Parameters
    ----------
    radius
        L2 radius of the perturbations, for pixels in [0, 1] at 224 x 224; 0 trains plainly.
    steps
        Gradient steps per perturbation.
    sparsity
        Weight of the summed activations in the loss: a feature is silent where it is not needed.
    exclusivity
        Weight of `overlap`: few features share a place.
    coherence
        Weight of `variety`: the places where a feature fires look alike.
    head_sparsity
        Weight of the head's summed absolute weights: a class uses few features.
    dropout
        Share of features withheld from the head: a class uses more than one.
    epochs, batch, rate, decay
        Of AdamW, with the rate rising and falling once.
    seed
        With the number of threads, all that chance depends on.
    """

    radius: float = 1.0
    steps: int = 2
    sparsity: float = 0.01
    exclusivity: float = 0.3
    coherence: float = 0.3
    head_sparsity: float = 1e-3
    dropout: float = 0.5
    epochs: int = 16
    batch: int = 64
    rate: float = 4e-3
    decay: float = 5e-2
    seed: int = 0


def train_networks(
    paths: Sequence[Path], labels: Sequence[int], classes: int, recipe: Recipe, out: dict[str, Path]
) -> None:
    """Train a robust and a plain network, each in a process of its own, and write their weights.

    One core each: the two take as long as one, no thread waits for another at every layer's end,
    and the weights depend on the recipe alone, not on how many cores there are.

    Parameters
    ----------
    paths : sequence of Path
        The training images.
    labels : sequence of int
        Their classes, below `classes`.
    classes : int
    recipe : Recipe
        Of the robust network; the plain one's differs by its radius, 0.
    out : dict of str to Path
        Where to write the state dicts of the networks ``robust`` and ``plain``.
    """
    recipes = {"robust": recipe, "plain": dataclasses.replace(recipe, radius=0.0)}
    # Not forked from this process: torch has computed in it, and a fork of it may hang.
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(len(out), mp_context=context, initializer=_prepare) as pool:
        # Processes start while this one loads the images. Ctrl-C reaches them all, but they inherit
        # to ignore it, until they are ready to just end: only this one has something to say.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        for _ in out:
            pool.submit(_prepare)
        signal.signal(signal.SIGINT, before)
        pooled = load_pooled(paths)
        done = [
            pool.submit(_train_and_save, pooled.numpy(), list(labels), classes, recipes[name], path)
            for name, path in out.items()
        ]
        for future in done:
            future.result()


def _prepare() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # Sparse features decay towards denormal numbers, which are thirty times as slow to compute
    # with; torch's threads inherit the setting only if it comes before they start.
    torch.set_flush_denormal(True)
    torch.set_num_threads(1)


def _train_and_save(
    pooled: npt.NDArray[np.float32], labels: list[int], classes: int, recipe: Recipe, path: Path
) -> None:
    net = train(torch.from_numpy(pooled), torch.tensor(labels), classes, recipe)
    with atomic_write(path) as file:
        torch.save(net.state_dict(), file)


def load_pooled(paths: Sequence[Path]) -> Tensor:
    """Preprocess images as the builder does, and average-pool them.

    Returns
    -------
    Tensor of float32, shape (images, 3, 56, 56), in [0, 1]
    """

    def load(path: Path) -> Tensor:
        pixels = torch.from_numpy(decode(path.read_bytes()).pixels)
        return avg_pool2d(pixels.permute(2, 0, 1) / 255, POOL)

    with ThreadPoolExecutor(2) as pool:
        return torch.stack(list(pool.map(load, paths)))


def train(
    pooled: Tensor,
    labels: Tensor,
    classes: int,
    recipe: Recipe,
    network: Callable[[int], SmallConvNet] = SmallConvNet,
) -> SmallConvNet:
    """Train a network on pooled images.

    Parameters
    ----------
    pooled
        float32, shape (n, 3, 56, 56), in [0, 1], from `load_pooled`.
    labels
        int64, shape (n,), below `classes`.
    classes
        Number of classes.
    recipe
        How to train.
    network
        Makes the network for so many classes; by default the demo's own.
    """
    torch.manual_seed(recipe.seed)
    net = network(classes).to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(net.parameters(), recipe.rate, weight_decay=recipe.decay)
    batches = len(labels) // recipe.batch
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, recipe.rate, total_steps=recipe.epochs * batches
    )
    for _ in range(recipe.epochs):
        order = torch.randperm(len(labels))[: batches * recipe.batch]
        for start in range(0, len(order), recipe.batch):
            chosen = order[start : start + recipe.batch]
            images = _flip_at_random(pooled[chosen])
            images = images.contiguous(memory_format=torch.channels_last)
            if recipe.radius:
                radius = recipe.radius / POOL
                attacked = perturb(net, images, labels[chosen], radius, recipe.steps)
            else:
                attacked = images
            net.train()
            maps = net.trunk(_normalise(attacked))
            activations = maps.mean((2, 3))
            logits = net.head(dropout(activations, recipe.dropout))
            loss = (
                cross_entropy(logits, labels[chosen])
                + recipe.sparsity * activations.sum(1).mean()
                + recipe.exclusivity * overlap(maps)
                + recipe.coherence * variety(maps, looks(images))
                + recipe.head_sparsity * net.head.weight.abs().sum()
            )
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return net.eval()


def overlap(maps: Tensor) -> Tensor:
    """How many features share a place: 0 where every place has one, scale-free.

    The sum over features minus their Euclidean norm, over the norm, averaged over places with the
    norm as weight. `maps` is float32 of shape (n, features, height, width) and not negative.
    """
    norm: Tensor = torch.linalg.vector_norm(maps, dim=1).mean()
    return (maps.sum(1).mean() - norm) / (norm + 1e-6)


def variety(maps: Tensor, looks: Tensor) -> Tensor:
    """How differently the places look where a feature fires: a soft k-means objective, scale-free.

    The variance of the looks over all places of a batch, weighted by one feature's map; the mean
    over features and dimensions. `looks` is float32 of shape (n, dimensions, height, width).
    """
    weights = maps.permute(0, 2, 3, 1).flatten(0, 2)
    points = looks.permute(0, 2, 3, 1).flatten(0, 2)
    weights = weights / (weights.sum(0) + 1e-4)
    return (weights.T @ points.square() - (weights.T @ points).square()).mean()


def looks(images: Tensor) -> Tensor:
    """Colour and contrast around each cell of the map, standardised over the batch.

    `images` is pooled, float32 of shape (n, 3, 56, 56); the result has shape (n, 6, 14, 14).
    """
    mean, square = (
        avg_pool2d(avg_pool2d(values, 4), 3, 1, padding=1, count_include_pad=False)
        for values in (images, images.square())
    )
    contrast = (square - mean.square()).clamp(min=0).sqrt()
    both = torch.cat([mean, contrast], 1)
    return (both - both.mean((0, 2, 3), keepdim=True)) / both.std((0, 2, 3), keepdim=True)


def perturb(net: SmallConvNet, images: Tensor, labels: Tensor, radius: float, steps: int) -> Tensor:
    """Projected gradient ascent of the loss within an L2 ball around pooled images."""
    net.eval()
    delta = torch.zeros_like(images)
    for _ in range(steps):
        delta.requires_grad_(True)
        loss = cross_entropy(net.head(net.trunk(_normalise(images + delta)).mean((2, 3))), labels)
        (slope,) = torch.autograd.grad(loss, delta)
        delta = delta.detach() + 1.5 * radius / steps * slope / (_norm(slope) + 1e-12)
        delta *= (radius / (_norm(delta) + 1e-12)).clamp(max=1)
        delta = (images + delta).clamp(0, 1) - images
    return images + delta


def _norm(images: Tensor) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(images, dim=(1, 2, 3), keepdim=True)
    return norm


def _normalise(images: Tensor) -> Tensor:
    return (images - MEAN) / STD


def _flip_at_random(images: Tensor) -> Tensor:
    flipped = torch.rand(len(images)) < 0.5
    return torch.where(flipped[:, None, None, None], images.flip(3), images)
