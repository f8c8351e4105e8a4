"""The card of a private repository, which holds the images too."""

from __future__ import annotations

IMAGES = "images"
"""The config of the original files."""

TERMS = (
    "ImageNet's terms: its images are for non-commercial research and education, by people who "
    "have accepted these terms at https://www.image-net.org/download.php, and may not be passed on "
    "to others. Keep the repository private, and let only such people in."
)

_SECTION = """
## Images: not to be passed on

Unlike the data set itself, this private copy holds ImageNet's images: its config `images` has the
original file of each, by `image_id`, in the order of `masks`. {terms}
"""

_UNTRUE = {
    "No image is in this repository, only what was seen in them.": (
        "This private copy holds the images too."
    ),
    "ImageNet's images and the votes file are not in this repository and keep their": (
        "ImageNet's images, which this private copy holds, and the votes file, which it does not, "
        "keep their"
    ),
}
"""What the card says of a data set without images, and what is so with them."""


def private_card(card: str, splits: list[str]) -> str:
    """Return the card of a private repository, with the config ``images`` and what it obliges to.

    Parameters
    ----------
    card : str
        The build's own.
    splits : list of str
    """
    lines = [f"configs:\n- config_name: {IMAGES}\n  data_files:\n"]
    lines += [f"  - split: {split}\n    path: {IMAGES}/{split}-*.parquet\n" for split in splits]
    card = card.replace("\nconfigs:\n", "\n" + "".join(lines), 1)
    for sentence, other in _UNTRUE.items():
        card = card.replace(sentence, other)
    return card + _SECTION.format(terms=TERMS)
