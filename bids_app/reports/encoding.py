"""Pictures as data URIs, so that a page is one file."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bids_app.reports.drawing import Grey, Mask

#: Of WebP; below, noise turns into blotches that could be taken for the image's own.
QUALITY = 60

#: Colours of outlines (Okabe and Ito's palette, which is told apart in all kinds of colour blindness), on grey.
ORANGE, SKY, GREEN = (230, 159, 0), (86, 180, 233), (0, 200, 140)


def picture_uri(picture: Grey, quality: int = QUALITY) -> str:
    """A grey or coloured (rows x columns x 3) picture as lossy WebP."""
    return _uri(_encoded(picture, format="WEBP", quality=quality, method=2), "webp")


def lines_uri(*layers: tuple[Mask, tuple[int, int, int]]) -> str:
    """Lines on a transparent ground as PNG, the later ones on top; exact, and small."""
    from PIL import Image

    index = np.zeros(layers[0][0].shape, dtype=np.uint8)
    for number, (line, _) in enumerate(layers, start=1):
        index[line] = number
    picture = Image.fromarray(index, mode="P")
    picture.putpalette([0, 0, 0, *(part for _, colour in layers for part in colour)])
    stream = io.BytesIO()
    picture.save(stream, format="PNG", optimize=True, transparency=0, bits=2)
    return _uri(stream.getvalue(), "png")


def _encoded(picture: NDArray[Any], **options: Any) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, **options)
    return stream.getvalue()


def _uri(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
