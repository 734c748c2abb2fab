"""A result enters and a PNG with all that is known of it leaves, or the other way round.

Works on any thread. What a newer Nijimi kept, or what is no such picture, gives None.
"""

from __future__ import annotations

import json

from nijimi_protocol.errors import ProtocolError
from nijimi_protocol.fields import Fields
from nijimi_protocol.limits import Limits
from nijimi_protocol.params_codec import params_from_json, params_to_json

from ..qt import QtCore, QtGui
from .picture import Picture, picture_image
from .results import Result

__all__ = ["MOST_PIXELS", "pack_result", "unpack_result"]

FORMAT = 1
MOST_PIXELS = 32 * 1024 * 1024
_KEY = "nijimi"
_INFO = "parameters"


def pack_result(result: Result, info: str = "") -> bytes:
    """A PNG, with A1111's text (``info``, else the result's own) and ours."""
    picture = result.picture
    image = picture_image(picture).copy()
    image.setText(_INFO, info or result.info())
    known = {
        "format": FORMAT,
        "area": picture.area,
        "canvas": picture.canvas,
        "is_of_selection": picture.selected is not None,
        "params": params_to_json(result.params),
        "sampler": result.sampler,
    }
    image.setText(_KEY, json.dumps(known))
    data = QtCore.QByteArray()
    buffer = QtCore.QBuffer(data)
    buffer.open(QtCore.QIODevice.OpenModeFlag.WriteOnly)
    image.save(buffer, "PNG")
    buffer.close()
    return bytes(data)


def unpack_result(data: bytes, result_id: int, name: str, document_id: str) -> Result | None:
    """The result that was packed, now one of that document.

    The file may be a stranger's: how large the picture claims to be is asked before it is unpacked.
    """
    raw = QtCore.QByteArray(data)
    buffer = QtCore.QBuffer(raw)
    buffer.open(QtCore.QIODevice.OpenModeFlag.ReadOnly)
    reader = QtGui.QImageReader(buffer, b"PNG")
    size = reader.size()
    if not 0 < size.width() * size.height() <= MOST_PIXELS:
        return None
    image = reader.read()
    try:
        known = Fields(json.loads(image.text(_KEY)))
        if image.isNull() or known.integer("format", 1) > FORMAT:
            return None
        params = params_from_json(known.part("params"), Limits())
        area, canvas = known.bounds("area"), known.extent("canvas")
        sampler = known.text("sampler", 64)
        is_of_selection = known.flag("is_of_selection")
    except (ValueError, ProtocolError):
        return None
    image = image.convertToFormat(QtGui.QImage.Format.Format_ARGB32)
    extent = canvas._make((image.width(), image.height()))
    bits = image.constBits()
    bits.setsize(extent.pixels * 4)
    pixels = bytes(bits)
    if is_of_selection and extent != area.extent:
        return None
    picture = Picture(
        pixels=pixels,
        extent=extent,
        area=area,
        canvas=canvas,
        document_id=document_id,
        revision=0,
        is_final=True,
        # Such a picture is transparent exactly where nothing was selected.
        selected=area if is_of_selection else None,
        selection=pixels[3::4] if is_of_selection else b"",
    )
    return Result(id=result_id, name=name, picture=picture, params=params, sampler=sampler)
