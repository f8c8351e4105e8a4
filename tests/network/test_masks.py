from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image

from builder.network.masks import make_masks
from builder.network.network import Output
from salient_imagenet_1m import pack_grids, unpack_grids


def test_each_image_gets_the_grids_of_its_own_features() -> None:
    torch.manual_seed(0)
    maps = torch.rand(3, 10, 4, 6) * 7
    output = Output(maps, maps.mean(dim=(2, 3)), torch.zeros(3, 2))
    features = np.array([[1, 2], [3, 9], [0, 1]], np.int32)
    spurious = np.array([[True, False], [True, True], [False, False]])

    masks = make_masks(output, features, spurious)

    for image in range(3):
        for column, feature in enumerate(features[image]):
            nam = maps[image, feature].double().numpy()
            expected = np.rint(255 * nam / nam.max())
            assert np.array_equal(masks.grids[image][column], expected)
            assert masks.peaks[image, column] == np.float32(nam.max())
            assert masks.activations[image, column] == output.activations[image, feature]
    assert [png is not None for png in masks.core] == [True, False, True]
    assert [png is not None for png in masks.spurious] == [True, True, False]
    assert np.array_equal(decoded(masks.core[2]), masks.grids[2].max(axis=0))
    assert np.array_equal(decoded(masks.spurious[0]), masks.grids[0][0])


def test_a_dead_map_has_peak_zero_and_no_nan() -> None:
    maps = torch.zeros(1, 2, 3, 3)
    maps[0, 1] = -1
    masks = make_masks(
        Output(maps, maps.mean(dim=(2, 3)), torch.zeros(1, 1)),
        np.array([[0, 1]], np.int32),
        np.array([[False, True]]),
    )
    assert masks.peaks.tolist() == [[0, 0]]
    assert not np.any(masks.grids)


def test_packed_grids_come_back() -> None:
    grids = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
    assert pack_grids(grids) == bytes(range(24))
    assert np.array_equal(unpack_grids(pack_grids(grids), 3, 4), grids)


def decoded(png: bytes | None) -> np.ndarray:
    assert png is not None
    return np.asarray(Image.open(io.BytesIO(png)))
