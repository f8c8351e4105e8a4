"""Image and masks are cut, resized and mirrored together."""

from __future__ import annotations

from typing import Any

import datasets
import numpy as np
import numpy.typing as npt
import PIL.Image
import pytest
from datasets import Features

import salient_imagenet_1m as si
from builder.dataset.upsampling import upsample
from tests.loader.conftest import World

torch = pytest.importorskip("torch")
v2 = pytest.importorskip("torchvision.transforms.v2")


def made(width: int = 300, height: int = 200, seed: int = 0) -> dict[str, Any]:
    """An example whose image is its own core mask, so that whatever moves both must agree."""
    rng = np.random.default_rng(seed)
    grids = np.clip(rng.normal(128, 60, (5, 7, 7)), 1, 255).astype(np.uint8)
    core = si.SoftMask(grids[:3], si._Target(width, height))
    spurious = si.SoftMask(grids[3:], si._Target(width, height))
    return {
        "image": PIL.Image.merge("RGB", [core.convert("L")] * 3),
        "core_mask": core,
        "spurious_mask": spurious,
        "image_id": "n01440764_1",
        "label": 3,
        "width": width,
        "height": height,
        "grids": grids.tobytes(),
        "grid_height": 7,
        "grid_width": 7,
        "kinds": ["core"] * 3 + ["spurious"] * 2,
        "activations": [0.5] * 5,
        "spuriosity": None,
        "spuriosity_rank": None,
    }


def inside(mask: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Where the box is, without its border: there image and mask are resampled differently."""
    return np.asarray(
        torch.nn.functional.max_pool2d(torch.from_numpy(mask == 0).float()[None], 9, 1, 4)[0] == 0
    )


def agree(image: npt.NDArray[np.uint8], mask: npt.NDArray[np.uint8], most: float = 2.5) -> None:
    assert image.shape == mask.shape
    where = inside(mask)
    assert where.any()
    assert np.abs(image.astype(int) - mask)[where].mean() < most


@pytest.mark.parametrize("seed", range(8))
def test_random_resized_crop_moves_both(seed: int) -> None:
    result = si.RandomResizedCrop(96, scale=(0.3, 1), seed=seed)(made(seed=seed))
    image, mask = np.asarray(result["image"])[..., 0], np.asarray(result["core_mask"])
    assert image.shape == (96, 96)
    agree(image, mask)
    again = si.RandomResizedCrop(96, scale=(0.3, 1), seed=seed)(made(seed=seed))
    assert again["window"] == result["window"]
    np.testing.assert_array_equal(mask, again["core_mask"].numpy())


def test_random_resized_crop_draws_like_torchvision() -> None:
    image = torch.zeros(1, 200, 300)
    theirs = np.array(
        [
            v2.RandomResizedCrop(96).make_params([image])[name]
            for _ in range(800)
            for name in ("width", "height", "left", "top")
        ]
    ).reshape(-1, 4)
    generator, ours = np.random.default_rng(0), []
    for _ in range(800):
        left, top, right, bottom = si.RandomResizedCrop(96).window(300, 200, generator)
        assert 0 <= left < right <= 300
        assert 0 <= top < bottom <= 200
        ours.append((right - left, bottom - top, left, top))
    np.testing.assert_allclose(np.mean(ours, 0), theirs.mean(0), atol=8)
    np.testing.assert_allclose(np.std(ours, 0), theirs.std(0), atol=8)


@pytest.mark.parametrize(("width", "height"), [(2000, 20), (20, 2000)])
def test_fallback_of_extreme_shapes(width: int, height: int) -> None:
    window = si.RandomResizedCrop(96, scale=(0.9, 1)).window(
        width, height, np.random.default_rng(0)
    )
    v2_params = v2.RandomResizedCrop(96, scale=(0.9, 1)).make_params(
        [torch.zeros(1, height, width)]
    )
    left, top, right, bottom = window
    assert (left, top) == (v2_params["left"], v2_params["top"])
    assert (right - left, bottom - top) == (v2_params["width"], v2_params["height"])


def test_pictures_that_a_user_made_of_masks() -> None:
    """Whoever changes a mask's pixels, and so has a plain picture, may cut it still."""
    example, painted = made(), made()
    painted["core_mask"] = painted["core_mask"].point(lambda value: 255 - value)
    for transform in (si.RandomResizedCrop(96, seed=3), si.CenterCrop()):
        mask = np.asarray(transform(example)["core_mask"])
        cut = np.asarray(transform(painted)["core_mask"])
        assert cut.shape == mask.shape
        if isinstance(transform, si.CenterCrop):
            where = inside(mask)
            assert np.abs(255 - cut.astype(int) - mask)[where].mean() < 2.5
    whole = si.V2(lambda pictures: pictures)(painted)
    np.testing.assert_array_equal(whole["core_mask"][0], np.asarray(painted["core_mask"]))
    painted["image"] = painted["image"].resize((150, 100))
    assert si.V2(lambda pictures: pictures)(painted)["core_mask"].shape == (1, 100, 150)


def test_crop_is_resized_like_torchvision() -> None:
    example = made()
    result = si.RandomResizedCrop(96, seed=1, flip=0)(example)
    left, top, right, bottom = (int(edge) for edge in result["window"])
    expected = v2.functional.resized_crop(
        example["image"], top, left, bottom - top, right - left, [96, 96]
    )
    assert result["image"].tobytes() == expected.tobytes()


def test_flip() -> None:
    plain = si.RandomResizedCrop(96, seed=1, flip=0)(made())
    mirrored = si.RandomResizedCrop(96, seed=1, flip=1)(made())
    np.testing.assert_array_equal(
        np.asarray(plain["core_mask"])[:, ::-1], np.asarray(mirrored["core_mask"])
    )
    np.testing.assert_array_equal(
        np.asarray(plain["image"])[:, ::-1], np.asarray(mirrored["image"])
    )


@pytest.mark.parametrize(("width", "height"), [(300, 200), (217, 331), (224, 224), (90, 500)])
def test_center_crop_is_torchvisions(width: int, height: int) -> None:
    example = made(width, height)
    result = si.CenterCrop()(example)
    expected = v2.Compose([v2.Resize(256), v2.CenterCrop(224)])(example["image"])
    assert result["image"].tobytes() == expected.tobytes()
    grids = example["core_mask"].grids
    assert np.abs(result["core_mask"].numpy() - upsample(grids, 224, 224).max(0)).max() < 0.51
    with pytest.raises(si.SalientImageNetError, match="larger than the image"):
        si.CenterCrop(224, resize=200)


def test_tensors_collate() -> None:
    crop, tensors = si.RandomResizedCrop(32), si.ToTensors()
    examples = [tensors(crop(made(seed=seed))) for seed in range(3)]
    examples[1]["spuriosity"] = 0.5
    batch = torch.utils.data.default_collate(examples)
    assert batch["image"].shape == (3, 3, 32, 32)
    assert batch["core_mask"].shape == (3, 1, 32, 32)
    assert batch["image"].dtype == batch["core_mask"].dtype == torch.uint8
    assert batch["core"].tolist() == [[True] * 3 + [False] * 2] * 3
    assert torch.isnan(batch["spuriosity"]).tolist() == [True, False, True]
    assert batch["spuriosity_rank"].tolist() == [-1] * 3


def test_tensors_of_an_example_share_a_block() -> None:
    """One piece of memory goes from a worker to the main process, and not three."""
    cut = si.RandomResizedCrop(32, seed=0)(made())
    result = si.ToTensors()(cut)
    np.testing.assert_array_equal(
        result["image"].permute(1, 2, 0), np.asarray(cut["image"].convert("RGB"))
    )
    pointers = {
        result[name].untyped_storage().data_ptr()
        for name in ("image", "core_mask", "spurious_mask")
    }
    assert len(pointers) == 1


def test_masks_of_a_batch_are_those_of_each_image() -> None:
    """Rendered together they have the same bits as `render` gives one by one."""
    rng = np.random.default_rng(0)
    examples, expected = [], []
    for index in range(24):
        width, height = (int(side) for side in rng.integers(60, 500, 2))
        example = made(width, height, index)
        core = int(rng.integers(0, 6))
        example["kinds"] = ["core"] * core + ["spurious"] * (5 - core)
        grids = si.unpack_grids(example["grids"], 7, 7)
        for kind, part in (("core", grids[:core]), ("spurious", grids[core:])):
            target = si._Target(width, height, geometry=("aligned", "upstream")[index % 2])
            example[f"{kind}_mask"] = si.SoftMask(part, target) if len(part) else None
        size = (None, 56, 7, 250)[index % 4]
        crop = si.CenterCrop(mask_size=size) if index % 3 == 0 else None
        cut = (crop or si.RandomResizedCrop(96, seed=index, mask_size=size))(example)
        where = {"size": size or cut["image"].width, "window": cut["window"], "flip": cut["flip"]}
        where["geometry"] = ("aligned", "upstream")[index % 2]
        examples.append(cut)
        expected.append({kind: si.render(example, kind, **where) for kind in si.KINDS})
    assert any(cut["flip"] for cut in examples)
    for masks, result in zip(expected, si.ToTensors().batch(examples), strict=True):
        for kind in si.KINDS:
            np.testing.assert_array_equal(result[f"{kind}_mask"][0], masks[kind])
    assert si.ToTensors().batch([]) == []


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("render", [True, False])
def test_collate_gives_what_torch_does(world: World, workers: int, render: bool) -> None:
    dataset = si.load(
        world.build,
        images=world.images,
        split="train",
        streaming=True,
        transform=si.CenterCrop(64, 80),
        format="torch",
        render=render,
    )
    plain, ours = (
        next(iter(torch.utils.data.DataLoader(dataset, 8, num_workers=workers, collate_fn=fn)))
        for fn in (None, si.collate)
    )
    assert list(ours) == list(plain)
    for name, column in ours.items():
        if not isinstance(column, torch.Tensor):
            assert column == plain[name]
            continue
        assert column.dtype == plain[name].dtype
        np.testing.assert_array_equal(column, plain[name])
    if not render:
        masks = si.render(ours, "core", size=24)
        np.testing.assert_array_equal(masks, si.render(plain, "core", size=24))
        assert ours["grids"].add_(1).any()  # they may be written to, like other tensors


def test_masks_of_another_size(world: World) -> None:
    options: dict[str, Any] = {"images": world.images, "split": "train", "streaming": True}
    transform = si.RandomResizedCrop(64, seed=0)
    stream = si.load(world.build, **options, transform=transform, mask_size=12)
    tensors = si.load(world.build, **options, transform=transform, mask_size=12, format="torch")
    rows = {row["image_id"]: row for row in world.rows["train"]}
    for cut, result in zip(stream, tensors, strict=True):
        assert cut["image"].size == (64, 64)
        for kind in si.KINDS:
            where = {"size": 12, "window": cut["window"], "flip": cut["flip"]}
            mask = si.render(rows[cut["image_id"]], kind, **where)
            np.testing.assert_array_equal(result[f"{kind}_mask"][0], mask)
            if cut[f"{kind}_mask"] is not None:
                np.testing.assert_array_equal(cut[f"{kind}_mask"], mask)
    for wrong in (None, si.V2(dict), lambda row: row):
        with pytest.raises(si.SalientImageNetError, match="mask_size= is of a crop"):
            si.load(world.build, **options, transform=wrong, mask_size=12)
    painted = made()
    painted["core_mask"] = painted["core_mask"].point(lambda value: 255 - value)
    assert si.CenterCrop(mask_size=56)(painted)["core_mask"].size == (56, 56)


def test_a_class_without_masks_gives_zeros() -> None:
    example = made() | {"spurious_mask": None}
    result = si.ToTensors()(si.CenterCrop()(example))
    assert not result["spurious_mask"].any()
    assert result["spurious_mask"].shape == (1, 224, 224)


def test_masks_rendered_later_on_the_device() -> None:
    crops = [si.RandomResizedCrop(64, seed=seed)(made(seed=seed)) for seed in range(4)]
    batch = torch.utils.data.default_collate([si.ToTensors(render=False)(crop) for crop in crops])
    assert "core_mask" not in batch
    for kind in si.KINDS:
        masks = si.render(batch, kind, size=64)
        for mask, crop in zip(masks, crops, strict=True):
            difference = np.abs(mask.numpy().astype(int) - crop[f"{kind}_mask"].numpy())
            assert difference.max() <= 1


@pytest.mark.parametrize(
    "transform",
    [
        v2.RandomResizedCrop(96, scale=(0.3, 1), antialias=True),
        v2.Compose([v2.Resize(80), v2.CenterCrop(64), v2.RandomHorizontalFlip(1)]),
        v2.RandomRotation(30, interpolation=v2.InterpolationMode.BILINEAR),
        v2.RandomAffine(10, (0.1, 0.1), interpolation=v2.InterpolationMode.BILINEAR),
        v2.RandomPerspective(0.3, p=1),
    ],
    ids=lambda transform: type(transform).__name__,
)
def test_v2_moves_both(transform: Any) -> None:
    torch.manual_seed(0)
    result = si.V2(transform)(made())
    assert type(result["core_mask"]) is torch.Tensor
    agree(result["image"][0].numpy(), result["core_mask"][0].numpy())
    assert len(np.unique(result["core_mask"])) > 60  # bilinear, not blocks


def test_v2_colours_leave_masks_alone() -> None:
    example = made()
    transform = v2.Compose(
        [v2.ColorJitter(brightness=(3, 3)), v2.ToDtype(torch.float32, scale=True)]
    )
    result = si.V2(transform)(example)
    np.testing.assert_array_equal(result["core_mask"][0].numpy(), example["core_mask"].numpy())
    assert result["image"].dtype == torch.float32
    assert set(si.ToTensors()(result)) >= {"image", "core_mask", "core", "label"}


def test_seeds(world: World) -> None:
    def windows(workers: int, seed: int | None = None, torch_seed: int = 0) -> list[Any]:
        torch.manual_seed(torch_seed)
        dataset = si.load(
            world.build,
            images=world.images,
            split="train",
            streaming=True,
            transform=si.RandomResizedCrop(16, seed=seed),
            format="torch",
            render=False,
        )
        loader = torch.utils.data.DataLoader(dataset, batch_size=None, num_workers=workers)
        return [tuple(example["window"].tolist()) for example in loader]

    assert windows(2) == windows(2)
    assert windows(2) != windows(2, torch_seed=1)
    assert windows(0, seed=1) == windows(0, seed=1, torch_seed=2)
    assert windows(0, seed=1) != windows(0, seed=2)
    assert windows(0) == windows(0)
    drawn = windows(2)
    assert len(set(drawn)) > 0.9 * len(drawn)  # workers do not draw the same


def test_a_mask_of_a_crop_is_not_stored() -> None:
    mask = made()["core_mask"].cropped((0, 0, 10, 10), (5, 5))
    with pytest.raises(si.SalientImageNetError, match="not stored as grids"):
        si.SoftMaskFeature().encode_example(mask)


def test_a_changed_mask_is_stored_under_another_name_only() -> None:
    features = Features({"core_mask": si.SoftMaskFeature()})
    mask = made()["core_mask"]
    dataset = datasets.Dataset.from_list([{"core_mask": mask}], features=features)
    binary = dataset.map(lambda row: {"binary": row["core_mask"].point(lambda v: 255 * (v > 9))})
    assert set(np.unique(binary[0]["binary"])) == {0, 255}
    np.testing.assert_array_equal(binary[0]["core_mask"], mask)
    with pytest.raises(si.SalientImageNetError, match="under another name"):
        dataset.map(lambda row: {"core_mask": row["core_mask"].point(lambda v: 255 - v)})
    mask.putpixel((0, 0), 255 - mask.getpixel((0, 0)))
    with pytest.raises(si.SalientImageNetError, match="under another name"):
        si.SoftMaskFeature().encode_example(mask)


def test_binary_masks_of_a_user() -> None:
    """PIL's mode 1 has the values 0 and 1, which are 0 and 255 in mode L."""
    example = made()
    binary = example["core_mask"].point(lambda value: 255 * (value > 127))
    expected = si.CenterCrop(64, 64)({**example, "core_mask": binary})
    bits = {**example, "core_mask": binary.convert("1")}
    cut = si.CenterCrop(64, 64)(bits)
    np.testing.assert_array_equal(cut["core_mask"], expected["core_mask"])
    assert si.ToTensors()(bits)["core_mask"].unique().tolist() == [0, 255]
    moved = si.V2(v2.RandomVerticalFlip(1))(bits)["core_mask"]
    np.testing.assert_array_equal(moved[0], np.flipud(np.asarray(binary)))


@pytest.mark.parametrize("transform", [si.RandomResizedCrop(8), si.CenterCrop(), si.V2(dict)])
def test_transforms_without_a_picture(transform: Any) -> None:
    example = made()
    undecoded = {**example, "image": {"bytes": None, "path": "n01440764_1.JPEG"}}
    del example["image"]
    for broken in (example, undecoded):
        with pytest.raises(si.SalientImageNetError, match=type(transform).__name__ + " needs the"):
            transform(broken)


@pytest.mark.parametrize("transform", [si.RandomResizedCrop(8), si.CenterCrop(), si.ToTensors()])
def test_masks_of_another_kind(transform: Any) -> None:
    example = made()
    with pytest.raises(si.SalientImageNetError, match="not ndarray: return PIL"):
        transform({**example, "core_mask": np.asarray(example["core_mask"]) > 127})
    with pytest.raises(si.SalientImageNetError, match="not of mode F"):
        transform({**example, "core_mask": example["core_mask"].convert("F")})


def test_an_example_is_cut_once() -> None:
    example = made(224, 224)  # of the size of a crop, so that no size tells
    with pytest.raises(si.SalientImageNetError, match="cut once"):
        si.RandomResizedCrop(224)(si.CenterCrop()(example))


def test_v2_says_what_it_cannot_do(world: World) -> None:
    with pytest.raises(si.SalientImageNetError, match="returned Image: let it take"):
        si.V2(lambda inputs: inputs["image"])(made())
    options: dict[str, Any] = {"images": world.images, "transform": si.V2(dict), "format": "torch"}
    with pytest.raises(si.SalientImageNetError, match="leave out render=False"):
        si.load(world.build, split="train", streaming=True, render=False, **options)


def test_columns_that_rendering_later_needs() -> None:
    example = made()
    del example["grid_height"], example["width"]
    with pytest.raises(si.SalientImageNetError, match="needs the columns width, grid_height too"):
        si.ToTensors(render=False)(example)
