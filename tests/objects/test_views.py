"""What models see of images that are not square, against torchvision's transforms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import CenterCrop, Compose, Resize

from builder.dataset.object_mask import distance_from_centre
from builder.evaluate.classifier import View
from builder.objects.components import find_components
from builder.objects.views import ObjectViews, collate

VIEWS = [View(), View(160, "bicubic")]


def example(width: int, height: int) -> dict[str, Any]:
    """Return an image of rough weather with a disc on it, off its middle."""
    rng = np.random.default_rng(0)
    rough = Image.fromarray(rng.integers(0, 256, (9, 12, 3), np.uint8))
    image = rough.resize((width, height), Image.Resampling.BICUBIC)
    y, x = np.mgrid[:height, :width]
    disc = np.hypot(y - height / 2, x - 0.7 * width) < height / 5
    return {
        "image": image,
        "object_mask": Image.fromarray(disc),
        "image_id": "a",
        "label": 3,
        "width": width,
        "height": height,
    }


@pytest.mark.parametrize(("width", "height"), [(375, 250), (240, 411)])
def test_as_published_it_is_the_public_transform(width: int, height: int) -> None:
    shown = example(width, height)
    found = ObjectViews([View()], as_published=True)(shown)
    transform = Compose([Resize((256, 256)), CenterCrop(224)])
    assert np.array_equal(found["pixels"][View()], transform(shown["image"]))
    mask = np.asarray(transform(shown["object_mask"].convert("L"))) > 0
    assert np.array_equal(found["parts"][View()] > 0, mask)
    assert found["area"] == mask.mean()


def test_else_the_shape_is_kept_and_the_object_is_what_is_mostly_on_it() -> None:
    shown, view = example(375, 250), View()
    found = ObjectViews([view])(shown)
    seen = Compose([Resize(256), CenterCrop(224)])
    expected = np.asarray(seen(shown["image"]), np.float64)
    assert np.abs(found["pixels"][view].numpy() - expected).mean() < 1
    mask = np.asarray(seen(shown["object_mask"].convert("L")))
    own = found["parts"][view].numpy() > 0
    assert (own != (mask >= 128)).mean() < 0.01
    assert own.mean() < (mask > 0).mean()


def test_a_batch_is_its_examples() -> None:
    sizes = [(375, 250), (250, 250), (240, 411)]
    shown = [ObjectViews(VIEWS)(example(*size)) for size in sizes]
    batch = collate(shown)
    for view in VIEWS:
        assert batch.pixels[view].shape == (3, view.size, view.size, 3)
        for place, own in enumerate(batch.parts[view].numpy()):
            parts, components = find_components(own > 0)
            assert np.array_equal(parts, own)
            assert components == batch.components[view][place]
    assert batch.areas[1] == (batch.parts[View()][1] > 0).double().mean()
    assert batch.distances[1] == distance_from_centre(batch.parts[View()][1].numpy() > 0)


def test_of_an_object_outside_of_the_window_nothing_is_seen() -> None:
    corner = np.zeros((250, 375), np.bool_)
    corner[:5, :5] = True
    shown = ObjectViews([View()])({**example(375, 250), "object_mask": Image.fromarray(corner)})
    assert not shown["parts"][View()].any()
    assert shown["components"][View()] == []
    assert np.isnan([shown["area"], shown["distance"]]).all()
