"""Fine-tuning of a head against Adam by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from builder.objects.fine_tuning import Recipe, fine_tune, new_head


def drawn(images: int = 50, features: int = 7, classes: int = 3) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(3)
    values = torch.randn(images, features, generator=generator)
    return values, torch.randint(0, classes, (images,), generator=generator)


def slow_head(values: torch.Tensor, labels: torch.Tensor, recipe: Recipe) -> np.ndarray:
    """Return weight and bias side by side: Adam with weight decay, step by step, in float64."""
    generator = torch.Generator().manual_seed(recipe.seed)
    head = new_head(values.shape[1], 3, generator)
    weights = np.hstack([head.weight.detach().numpy(), head.bias.detach().numpy()[:, None]])
    weights = weights.astype(np.float64)
    inputs = np.hstack([values.numpy(), np.ones((len(values), 1))])
    first, second, step = np.zeros_like(weights), np.zeros_like(weights), 0
    for _ in range(recipe.epochs):
        order = torch.randperm(len(values), generator=generator).tolist()
        for start in range(0, len(order), recipe.batch):
            rows = order[start : start + recipe.batch]
            slope = recipe.weight_decay * weights
            for row in rows:
                shares = np.exp(weights @ inputs[row])
                shares /= shares.sum()
                shares[int(labels[row])] -= 1
                slope = slope + np.outer(shares, inputs[row]) / len(rows)
            step += 1
            first = 0.9 * first + 0.1 * slope
            second = 0.999 * second + 0.001 * slope**2
            mean, square = first / (1 - 0.9**step), second / (1 - 0.999**step)
            weights -= recipe.learning_rate * mean / (np.sqrt(square) + 1e-8)
    return np.asarray(weights)


@pytest.mark.parametrize("recipe", [Recipe(), Recipe(3, 0.05, 0.1, 16, 5)])
def test_a_head_is_the_slow_one(recipe: Recipe) -> None:
    values, labels = drawn()
    head = fine_tune(values, labels, 3, recipe)
    found = np.hstack([head.weight.numpy(), head.bias.numpy()[:, None]])
    np.testing.assert_allclose(found, slow_head(values, labels, recipe), atol=2e-4)


def test_it_learns_what_features_tell() -> None:
    values, _ = drawn(300)
    labels = values[:, :3].argmax(1)
    head = fine_tune(values, labels, 3, Recipe(learning_rate=0.01))
    assert (head(values).argmax(1) == labels).float().mean() > 0.95


def test_chance_is_the_seed_s_alone() -> None:
    values, labels = drawn()
    one, again, other = (
        fine_tune(values, labels, 3, Recipe(seed=seed, epochs=2)).weight for seed in (0, 0, 1)
    )
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
