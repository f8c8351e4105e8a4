"""Pipelines of torchvision and timm: masks follow what moves pixels, and nothing else."""

from __future__ import annotations

import inspect
import pickle
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL.Image
import pytest

import salient_imagenet_1m as si
from tests.loader.conftest import World
from tests.loader.test_transforms import made

torch = pytest.importorskip("torch")
v2 = pytest.importorskip("torchvision.transforms.v2")
v1 = pytest.importorskip("torchvision.transforms")
timm_transforms = pytest.importorskip("timm.data.transforms")
auto_augment = pytest.importorskip("timm.data.auto_augment")
factory = pytest.importorskip("timm.data.transforms_factory")

BILINEAR = v2.InterpolationMode.BILINEAR
SIGNED = ["ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate"]


def drawn(width: int = 180, height: int = 120) -> dict[str, Any]:
    """An example whose image is its masks: a disc, a bar and a slope, dark towards the border."""
    y, x = np.mgrid[:height, :width]
    slope = np.minimum(np.minimum(x, width - 1 - x), np.minimum(y, height - 1 - y)) * 2.5
    disc = 200 * np.exp(-((x - 60) ** 2 + (y - 70) ** 2) / 500)
    bar = 220 * np.exp(-((x - y / 2 - 70) ** 2) / 200) * (np.abs(y - 60) < 40)
    core, spurious = (
        PIL.Image.fromarray(np.clip(part, 0, 255).astype(np.uint8)) for part in (slope, disc + bar)
    )
    example = {"image": PIL.Image.merge("RGB", [core, spurious, core])}
    return {**example, "core_mask": core, "spurious_mask": spurious, "label": 3}


def seed(number: int) -> None:
    random.seed(number)
    np.random.seed(number)
    torch.manual_seed(number)


def pixels(image: Any) -> npt.NDArray[np.float64]:
    """Return an image as levels, whatever has been made of it."""
    array = np.asarray(image, np.float64)
    return array * 255 if array.max() <= 1.0 else array


def differences(result: dict[str, Any]) -> npt.NDArray[np.float64]:
    """Return by how much the image's bands differ from the masks that they were drawn from."""
    masks = np.concatenate([result["core_mask"], result["spurious_mask"]]).astype(np.float64)
    assert result["core_mask"].dtype == torch.uint8
    assert result["core_mask"].shape == (1, *result["image"].shape[-2:])
    return np.abs(pixels(result["image"])[:2] - masks)


def moved(result: dict[str, Any]) -> bool:
    before = np.asarray(drawn()["core_mask"])
    return not np.array_equal(result["core_mask"][0], before)


# torchvision's augmentations


def with_one(operation: str, kind: type, **options: Any) -> Any:
    """Return an augmentation of one operation alone, at its greatest magnitude."""
    space = {operation: kind._AUGMENTATION_SPACE[operation]}  # type: ignore[attr-defined]
    return type(kind.__name__, (kind,), {"_AUGMENTATION_SPACE": space})(**options)


@pytest.mark.parametrize("operation", sorted(v2.RandAugment._AUGMENTATION_SPACE))
@pytest.mark.parametrize("kind", [v2.RandAugment, v2.TrivialAugmentWide])
def test_operations_of_torchvision(kind: type, operation: str) -> None:
    one = {"num_ops": 1, "magnitude": 30} if kind is v2.RandAugment else {}
    transform = si.V2(with_one(operation, kind, interpolation=BILINEAR, fill=0, **one))
    results = []
    for number in range(8):
        seed(number)
        results.append(transform(drawn()))
        assert operation not in SIGNED or differences(results[-1]).max() <= 1
    # Of RandAugment, whose magnitude is fixed, both signs.
    unlike = {result["core_mask"].numpy().tobytes() for result in results}
    least, most = (2, 2) if kind is v2.RandAugment else (5, 8)
    assert least <= len(unlike) <= most if operation in SIGNED else len(unlike) == 1
    assert any(map(moved, results)) == (operation in SIGNED)


def test_the_operations_of_torchvision_are_known() -> None:
    for kind in (v2.AutoAugment, v2.RandAugment, v2.TrivialAugmentWide):
        assert set(kind._AUGMENTATION_SPACE) <= si._MOVING_OPS | si._COLOUR_OPS


@pytest.mark.parametrize("policy", list(v2.AutoAugmentPolicy))
def test_policies_of_torchvision(policy: Any) -> None:
    transform = v2.AutoAugment(policy, interpolation=BILINEAR, fill=0)
    movements = 0
    for number in range(25):
        seed(number)
        result = si.V2(transform)(drawn())
        movements += moved(result)
        seed(number)
        alone = transform(v2.functional.pil_to_tensor(drawn()["image"]))
        np.testing.assert_array_equal(result["image"], alone)
    assert 0 < movements < 25


def test_augmentations_in_containers() -> None:
    pipeline = v2.Compose(
        [
            v2.RandomChoice([v2.RandAugment(interpolation=BILINEAR), v2.RandomHorizontalFlip(1)]),
            v2.RandomApply(torch.nn.ModuleList([v2.TrivialAugmentWide(interpolation=BILINEAR)])),
            v2.RandomErasing(1),
        ]
    )
    kinds = [type(part) for part in si._parts(pipeline)]
    together = si.V2(pipeline)
    assert [type(part) for part in si._parts(pipeline)] == kinds  # the user's own is left as it is
    seed(1)
    results = [together(drawn()) for _ in range(20)]
    assert any(map(moved, results))
    again = pickle.loads(pickle.dumps(together))
    seed(1)
    np.testing.assert_array_equal(again(drawn())["core_mask"], results[0]["core_mask"])


def test_masks_are_moved_bilinearly_and_filled_with_nothing() -> None:
    """Whatever the image is moved and filled with."""
    for transform in (
        v2.RandomRotation((20, 20), fill=255),
        v2.RandomAffine((20, 20), fill=(255, 0, 9)),
        v2.RandAugment(1, 30, fill=255),
        v2.Pad(20, fill=(255, 0, 9)),
        v2.RandomCrop(150, padding=40, fill=7),
    ):
        seed(3)
        mask = si.V2(transform)(made(180, 120))["core_mask"]
        assert mask[0, 0, 0] == 0
        assert mask[0, -1, -1] == 0
        assert len(np.unique(mask)) > 60


# Pipelines on images alone


@pytest.mark.parametrize("operation", sorted(auto_augment.NAME_TO_OP))
def test_operations_of_timm(operation: str) -> None:
    options = {"img_mean": (0, 0, 0), "interpolation": PIL.Image.Resampling.BILINEAR}
    hparams = {"translate_const": 40, **options}
    op = auto_augment.AugmentOp(operation, prob=0.8, magnitude=9, hparams=hparams)
    movements = []
    for number in range(8):
        seed(number)
        result = si.V2(op)(drawn())
        seed(number)
        np.testing.assert_array_equal(
            result["image"].permute(1, 2, 0), np.asarray(op(drawn()["image"]))
        )
        movements.append(moved(result))
        if movements[-1]:
            assert differences(result).max() <= 1
    moves = operation.startswith(("Shear", "Translate", "Rotate"))
    assert set(movements) == ({True, False} if moves else {False})


MOVES: dict[str, Callable[[], Any]] = {
    "torchvision.Resize": lambda: v1.Resize(100),
    "torchvision.CenterCrop": lambda: v1.CenterCrop(150),
    "torchvision.Pad": lambda: v1.Pad(20, padding_mode="reflect"),
    "torchvision.RandomCrop": lambda: v1.RandomCrop(170, padding=30, pad_if_needed=True),
    "torchvision.RandomResizedCrop": lambda: v1.RandomResizedCrop(100),
    "torchvision.RandomRotation": lambda: v1.RandomRotation(40, BILINEAR, expand=True),
    "torchvision.RandomAffine": lambda: v1.RandomAffine(40, (0.2, 0.2), (0.7, 1.3), 10, BILINEAR),
    "torchvision.RandomHorizontalFlip": lambda: v1.RandomHorizontalFlip(0.5),
    "torchvision.RandomVerticalFlip": lambda: v1.RandomVerticalFlip(0.5),
    "timm.RandomResizedCropAndInterpolation": lambda: (
        timm_transforms.RandomResizedCropAndInterpolation(100)
    ),
    "timm.ResizeKeepRatio": lambda: timm_transforms.ResizeKeepRatio(
        100, random_scale_prob=0.5, random_aspect_prob=0.5
    ),
    "timm.CenterCropOrPad": lambda: timm_transforms.CenterCropOrPad(150, padding_mode="reflect"),
    "timm.RandomCropOrPad": lambda: timm_transforms.RandomCropOrPad(150),
    "timm.RandomPad": lambda: timm_transforms.RandomPad((150, 190)),
    "timm.TrimBorder": lambda: timm_transforms.TrimBorder(9),
}


@pytest.mark.parametrize("name", sorted({*si._MOVES, *si._FLIPS}))
def test_steps_that_move(name: str) -> None:
    step = MOVES[name]()
    for number in range(6):
        seed(number)
        result = si.V2(step)(drawn())
        assert differences(result).max() == 0
        seed(number)
        alone = step(drawn()["image"])
        np.testing.assert_array_equal(result["image"].permute(1, 2, 0), np.asarray(alone))


OPTIONS: list[dict[str, Any]] = [
    {"is_training": True},
    {"is_training": True, "auto_augment": "rand-m9-mstd0.5-inc1", "re_prob": 0.5},
    {"is_training": True, "auto_augment": "rand-m9-n3-tweights", "interpolation": "bicubic"},
    {"is_training": True, "auto_augment": "original-mstd0.5", "interpolation": "random"},
    {"is_training": True, "auto_augment": "v0"},
    {"is_training": True, "auto_augment": "3a", "color_jitter": 0.3},
    {"is_training": True, "train_crop_mode": "rkrc", "vflip": 0.5},
    {"is_training": True, "train_crop_mode": "rkrr", "normalize": False},
    {"is_training": True, "grayscale_prob": 0.5, "gaussian_blur_prob": 0.5, "color_jitter_prob": 1},
    {"is_training": True, "no_aug": True},
    {},
    {"crop_mode": "border", "crop_pct": 0.9},
    {"crop_mode": "squash", "use_prefetcher": True, "crop_border_pixels": 4},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_pipelines_of_timm(options: dict[str, Any]) -> None:
    """The image is what timm makes of it alone, and the masks lie where its pixels are."""
    pipeline = factory.create_transform(96, **options)
    geometry = factory.create_transform(
        96,
        **{**options, "normalize": False, "interpolation": "bilinear", "mean": (0, 0, 0)},
    )
    together = si.V2(pipeline)
    for number in range(6):
        seed(number)
        result = together(drawn())
        seed(number)
        np.testing.assert_array_equal(result["image"], pipeline(drawn()["image"]))
        assert result["core_mask"].shape == (1, 96, 96)
        assert result["label"] == 3
        if not options.keys() & {"auto_augment", "grayscale_prob"}:
            seed(number)
            plain = si.V2(without_colours(geometry))(drawn())
            assert differences(plain).max() <= 1
            np.testing.assert_array_equal(plain["core_mask"], result["core_mask"])


def without_colours(pipeline: Any) -> Any:
    steps = [step for step in pipeline.transforms if not isinstance(step, v1.ColorJitter)]
    return v1.Compose(steps)


def test_containers_of_steps() -> None:
    pipeline = v1.Compose(
        [
            v1.RandomApply([v1.RandomRotation(30, BILINEAR)]),
            v1.RandomApply(torch.nn.ModuleList([v1.RandomHorizontalFlip(1)])),
            v1.RandomChoice([v1.RandomVerticalFlip(1), v1.Pad(5)]),
            v1.RandomOrder([v1.CenterCrop(110), v1.Resize(100)]),
            v1.ToTensor(),
        ]
    )
    together = pickle.loads(pickle.dumps(si.V2(pipeline)))
    for number in range(8):
        seed(number)
        result = together(drawn())
        assert differences(result).max() <= 1
        seed(number)
        np.testing.assert_array_equal(result["image"], pipeline(drawn()["image"]))


def test_steps_after_the_image_is_a_tensor() -> None:
    steps = [
        v1.ToTensor(),
        v1.RandomHorizontalFlip(),
        v1.RandomResizedCrop(90),
        v1.RandomErasing(1),
    ]
    for number in range(4):
        seed(number)
        result = si.V2(v1.Compose(steps[:-1]))(drawn())
        assert differences(result).max() <= 2
        seed(number)
        erased = si.V2(v1.Compose(steps))(drawn())
        np.testing.assert_array_equal(erased["core_mask"], result["core_mask"])
        assert not torch.equal(erased["image"], result["image"])


def test_threads_do_not_take_each_others_numbers() -> None:
    """Though all draw from the same generators."""
    options: dict[str, Any] = {"is_training": True, "normalize": False, "color_jitter": None}
    of_timm = factory.create_transform(64, **options)
    of_torchvision = with_one("Rotate", v2.TrivialAugmentWide, interpolation=BILINEAR, fill=0)
    for transform in (si.V2(of_timm), si.V2(of_torchvision)):
        with ThreadPoolExecutor(8) as pool:
            for result in pool.map(lambda _, do=transform: do(drawn()), range(64)):
                assert differences(result).max() <= 1


@pytest.mark.parametrize("workers", [0, 1])
def test_pipelines_of_timm_in_a_data_loader(world: World, workers: int) -> None:
    transform = si.V2(factory.create_transform(32, is_training=True, auto_augment="rand-m9"))
    dataset = si.load(
        world.build,
        images=world.images,
        split="train",
        streaming=True,
        transform=transform,
        format="torch",
        columns=["image", "core_mask", "spurious_mask"],
    )
    batch = next(iter(torch.utils.data.DataLoader(dataset, 8, num_workers=workers)))
    assert batch["image"].shape == (8, 3, 32, 32)
    assert batch["image"].dtype == torch.float32
    for kind in si.KINDS:
        assert batch[f"{kind}_mask"].shape == (8, 1, 32, 32)
        assert batch[f"{kind}_mask"].dtype == torch.uint8
        assert batch[f"{kind}_mask"].any()


def test_one_mask_or_none() -> None:
    example = drawn()
    del example["spurious_mask"]
    result = si.V2(v1.CenterCrop(100))(example)
    assert set(result) == {"image", "core_mask", "label"}
    nothing = si.V2(v1.CenterCrop(100))({**drawn(), "core_mask": None})
    assert not nothing["core_mask"].any()
    assert nothing["spurious_mask"].any()


class Wobble:
    def __call__(self, image: Any) -> Any:
        return image


@pytest.mark.parametrize(
    ("pipeline", "name"),
    [
        (v2.AugMix(), "AugMix"),
        (v2.Compose([v2.Resize(9), v2.AugMix()]), "AugMix"),
        (v2.RandomApply([v2.MixUp(num_classes=3)]), "MixUp"),
        (torch.nn.Sequential(v2.CutMix(num_classes=3)), "CutMix"),
        (v2.Compose([v1.Resize(9)]), "Resize"),
        (v2.Compose([timm_transforms.ResizeKeepRatio(9)]), "ResizeKeepRatio"),
        (v1.Compose([v1.AugMix()]), "AugMix"),
        (v1.Compose([v1.RandAugment()]), "RandAugment"),
        (v1.Compose([v1.RandomApply([v1.RandomPerspective()])]), "RandomPerspective"),
        (v1.Compose([v1.FiveCrop(9)]), "FiveCrop"),
        (v1.Compose([v2.RandomRotation(9)]), "RandomRotation"),
        (v1.Compose([Wobble()]), "Wobble"),
        (v1.Compose([np.fliplr]), "fliplr"),
        (v1.Lambda(np.fliplr), "Lambda"),
        (factory.create_transform(96, is_training=True, auto_augment="augmix-m5"), "AugMixAugment"),
        (factory.create_transform(96, naflex=True), "ResizeToSequence"),
        (factory.create_transform(96, patchify=True), "Patchify"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_followed_is_refused_by_name(pipeline: Any, name: str) -> None:
    with pytest.raises(si.SalientImageNetError, match=rf"masks are to follow {name}: leave it out"):
        si.V2(pipeline)


def test_operations_that_are_not_known_are_refused() -> None:
    own = type("Own", (v2.RandAugment,), {"_AUGMENTATION_SPACE": {"Swirl": (None, True)}})
    with pytest.raises(si.SalientImageNetError, match="masks are to follow Own"):
        si.V2(v2.Compose([own()]))
    for pipeline in (224, None, (v1.Resize(9), v1.Resize(9))):
        with pytest.raises(si.SalientImageNetError, match=r"transforms cannot be .*: give a pip"):
            si.V2(pipeline)  # type: ignore[arg-type]


def test_steps_draw_where_masks_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is drawn elsewhere than in `get_params` would be drawn twice."""
    for name in si._MOVES:
        step = MOVES[name]()
        source = inspect.getsource(getattr(type(step), "forward", type(step).__call__))
        assert "torch.rand" not in source, name
        assert "random." not in source.replace("random.choice(self.interpolation)", ""), name
