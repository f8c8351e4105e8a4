"""The columns of the table of models."""

from __future__ import annotations

from builder.evaluate.conditions import CLEAN
from builder.evaluate.table import Column
from builder.objects.measures import MEDIAN_IOU, rfs_of, top1_of
from builder.objects.sensitivity import Level

RFS_SIGMA, RFS_NORM = Level("sigma", 0.25), Level("norm", 90)
"""The levels of noise that the table shows; charts have all."""

ABLATION_TITLES = {
    CLEAN: "as they are",
    "gray_mask": "object gray",
    "gray_box": "box gray",
    "tile": "box tiled",
    "mean_fill": "mean colour",
}
"""By condition, in their order."""

_RFS = ("\u22121 to 1", 1, "+z.2f")

COLUMNS = (
    *(Column(top1_of(condition), title) for condition, title in ABLATION_TITLES.items()),
    Column(rfs_of(RFS_SIGMA), f"RFS, \u03c3 {RFS_SIGMA.value:g}", *_RFS),
    Column(rfs_of(RFS_NORM), f"RFS, L2 norm {RFS_NORM.value:g}", *_RFS),
    Column("iou", "GradCAM IoU"),
    Column(MEDIAN_IOU, "median IoU"),
    Column("dice", "GradCAM Dice"),
    Column("density", "\u0394 density", "points", form="+z.1f"),
)
