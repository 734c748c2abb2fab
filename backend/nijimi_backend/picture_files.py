"""Picture files enter as arrays of their own depth; a layer is laid over one, and a file leaves.

What the layer does not cover comes back value for value, in 8 and in 16 bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from nijimi_protocol.limits import Limits
from PIL import Image, PngImagePlugin, UnidentifiedImageError

from .engine.request import Pixels
from .errors import BadImage, BadInput

__all__ = ["PictureFile", "read_info", "read_mask", "read_picture", "write_picture"]

Values = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class PictureFile:
    """``values``: H x W x C, uint8 or uint16; C is 1 (grey), 2 (grey, alpha), 3 (RGB) or 4."""

    values: Values
    icc_profile: bytes | None = None

    @property
    def canvas(self) -> Pixels:
        """The same as BGRA, 8 bit, H x W x 4: what an engine takes."""
        values = self.values
        if values.dtype == np.uint16:
            values = (values.astype(np.uint32) * 255 + 32767) // 65535
        values = values.astype(np.uint8)
        height, width, channels = values.shape
        canvas = np.full((height, width, 4), 255, dtype=np.uint8)
        canvas[..., :3] = values[..., 2::-1] if channels >= 3 else values[..., :1]
        if channels in (2, 4):
            canvas[..., 3] = values[..., -1]
        return canvas

    def with_layer(self, layer: Pixels, x: int, y: int) -> PictureFile:
        """Lay straight-alpha BGRA over it, its corner at (x, y). Alpha 0 changes no value."""
        values = self.values.copy()
        height, width = layer.shape[:2]
        part = values[y : y + height, x : x + width]
        top = float(np.iinfo(values.dtype).max)
        channels = values.shape[2]
        rgb = layer[..., 2::-1].astype(np.float64) / 255.0
        if channels < 3:
            # Rec. 601, as grey documents are shown.
            rgb = rgb @ np.array([[0.299], [0.587], [0.114]])
        over = layer[..., 3:].astype(np.float64) / 255.0
        colours = part.shape[2] - (channels in (2, 4))
        below = part[..., :colours].astype(np.float64) / top
        under = part[..., colours:].astype(np.float64) / top if channels in (2, 4) else 1.0
        alpha = over + under * (1.0 - over)
        mixed = rgb * over + below * under * (1.0 - over)
        mixed = np.divide(mixed, alpha, out=np.zeros_like(mixed), where=alpha > 0)
        result = [mixed, np.broadcast_to(alpha, over.shape)] if channels in (2, 4) else [mixed]
        new = (np.concatenate(result, axis=2) * top).round().astype(values.dtype)
        part[...] = np.where(layer[..., 3:] > 0, new, part)
        return PictureFile(values=values, icc_profile=self.icc_profile)


def read_picture(path: Path) -> PictureFile:
    """A picture in its own depth. Raises ``BadImage``."""
    limits = Limits()
    too_large = f"Scale it to at most {limits.max_side_px} px a side."
    try:
        with Image.open(path) as image:
            if (
                max(image.size) > limits.max_side_px
                or image.width * image.height > limits.max_pixels
            ):
                raise BadImage(
                    f"{path} is {image.width} x {image.height} px, which is too large.", too_large
                )
            icc_profile = image.info.get("icc_profile")
            deep = _read_16_bit(path) if image.format in ("PNG", "TIFF") else None
            if deep is not None:
                return PictureFile(values=deep, icc_profile=icc_profile)
            has_alpha = "A" in image.getbands() or "transparency" in image.info
            grey = image.mode in ("1", "L", "LA")
            mode = ("LA" if has_alpha else "L") if grey else ("RGBA" if has_alpha else "RGB")
            values = np.array(image.convert(mode))
    except FileNotFoundError:
        raise BadImage(f"There is no file {path}.", "Check the path.") from None
    except Image.DecompressionBombError:
        raise BadImage(f"{path} is far too large.", too_large) from None
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise BadImage(f"{path} cannot be read as a picture ({error}).", "Use a PNG.") from None
    return PictureFile(
        values=values if values.ndim == 3 else values[..., None], icc_profile=icc_profile
    )


def read_mask(path: Path) -> Pixels:
    """A mask, H x W: the alpha of a picture that has one and is not opaque, else its lightness."""
    picture = read_picture(path)
    values = picture.values
    if values.dtype == np.uint16:
        values = (values // 257).astype(np.uint8)
    channels = values.shape[2]
    if channels in (2, 4) and (values[..., -1] < 255).any():
        return np.ascontiguousarray(values[..., -1])
    if channels >= 3:
        return np.asarray(Image.fromarray(values[..., :3]).convert("L"))
    return np.ascontiguousarray(values[..., 0])


_MOST_INFO_CHARS = 20_000


def read_info(path: Path) -> str:
    """The text that the web UIs' readers call "parameters"; "" for none. Raises ``BadImage``."""
    try:
        with Image.open(path) as image:
            return str(image.info.get("parameters", ""))[:_MOST_INFO_CHARS]
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise BadImage(f"{path} cannot be read as a picture ({error}).", "Use a PNG.") from None


def write_picture(picture: PictureFile, path: Path, info: str = "") -> None:
    """Write the whole PNG or none. Raises ``BadInput`` where that is not possible.

    ``info`` becomes its text "parameters", at 8 bits a channel.
    """
    beside = path.with_name(path.name + ".part.png")
    values = picture.values
    try:
        if values.dtype == np.uint16:
            if not cv2.imwrite(str(beside), _swapped(values)):
                raise OSError("the disk refused it")
        else:
            image = Image.fromarray(values[..., 0] if values.shape[2] == 1 else values)
            texts = PngImagePlugin.PngInfo()
            if info:
                texts.add_text("parameters", info)
            image.save(beside, "PNG", icc_profile=picture.icc_profile, pnginfo=texts)
        beside.replace(path)
    except (OSError, cv2.error) as error:
        if beside.is_file():
            beside.unlink()
        reason = getattr(error, "strerror", None) or error
        raise BadInput(
            f"{path} cannot be written ({reason}).",
            "Name a file in a folder that you may write to, on a disk with room.",
        ) from error


def _read_16_bit(path: Path) -> Values | None:
    """H x W x C, uint16, or None for a file of another depth. Pillow knows 16 bit for grey only."""
    values = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if values is None or values.dtype != np.uint16:
        return None
    if values.ndim == 2:
        return values[..., None]
    return _swapped(values)


def _swapped(values: Values) -> Values:
    """RGB(A) for BGR(A) and back; grey as it is. PNG with grey and alpha is RGBA to OpenCV."""
    if values.shape[2] < 3:
        return values
    order = [2, 1, 0, *range(3, values.shape[2])]
    return np.ascontiguousarray(values[..., order])
