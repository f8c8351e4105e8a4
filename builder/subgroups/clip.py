"""CLIP: embeddings of images, and of words in the same space."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from builder.errors import BuildError, first_line
from builder.evaluate.classifier import View
from builder.evaluate.zero_shot import ClipModel, load_clip
from builder.network.network import hash_tensors

_TEMPLATE = "a photo of {}."
_BATCH = 256
LARGEST_LIST = 100_000
"""Words of a list at most."""


class Clip:
    """A CLIP model, its two towers.

    Parameters
    ----------
    name : str
        ``clip:ARCHITECTURE/WEIGHTS``.
    device : torch.device

    Attributes
    ----------
    view : View

    Raises
    ------
    BuildError
        If open_clip is missing, or there is no such model.
    """

    def __init__(self, name: str, device: torch.device) -> None:
        tower, _, weights = name.partition(":")[2].partition("/")
        loaded: ClipModel = load_clip(name, tower, weights)
        self._model: Any = loaded.model.eval().requires_grad_(requires_grad=False).to(device)
        self._tokenizer, self._device = loaded.tokenizer, device
        self.view: View = loaded.view
        self._mean, self._std = (
            torch.tensor(values, device=device).view(3, 1, 1)
            for values in (loaded.mean, loaded.std)
        )

    @property
    def weights_sha256(self) -> str:
        """Hash of all its weights."""
        return hash_tensors(self._model.state_dict())

    @torch.inference_mode()
    def __call__(self, images: Tensor, _labels: Tensor) -> Tensor:
        """Return the embeddings of images, as `Encoding` says."""
        embeddings: Tensor = self._model.encode_image((images - self._mean) / self._std)
        return embeddings.float()

    @torch.inference_mode()
    def embeddings_of(self, words: Sequence[str]) -> Tensor:
        """Return the embeddings of words, of unit length: float32 of shape (words, features)."""
        found = []
        for start in range(0, len(words), _BATCH):
            texts = [_TEMPLATE.format(word) for word in words[start : start + _BATCH]]
            tokens = self._tokenizer(texts).to(self._device)
            found.append(normalize(self._model.encode_text(tokens).float(), dim=1).cpu())
        return torch.cat(found)


def read_words(path: Path) -> list[str]:
    """Return the words of a file, one in each line that is not empty, each once.

    Raises
    ------
    BuildError
        If the file cannot be read, or is no list of words.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise BuildError(
            f"The words {path} cannot be read ({first_line(error)}): give --words a file in UTF-8 "
            "with a word or phrase in each line."
        ) from error
    words = list(dict.fromkeys(line.strip() for line in lines if line.strip()))
    if not 0 < len(words) <= LARGEST_LIST:
        raise BuildError(
            f"{path} has {len(words):,} words: give --words a list of 1 to {LARGEST_LIST:,}."
        )
    return words
