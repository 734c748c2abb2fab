"""A picture enters; a layer of the document holds all of it, and its mask says what is seen.

Krita's scripts cannot make a transparency mask that has pixels, and a child that is added to a
layer is a step of undo of its own. A file may hold both: so a small one is read into a document
that nobody sees, and a copy of its layer goes where it belongs.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import zipfile
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any
from xml.sax.saxutils import quoteattr

from nijimi_protocol.geometry import Bounds, Extent

from ..qt import QtCore
from ..texts import tr
from .document import SRGB, document_id
from .journal import Journal
from .layer_pixels import picture_and_mask
from .layers import add_layer, place_of_new_layer
from .room import SelectionMask

__all__ = ["apply_masked"]

_DOCUMENT = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE DOC PUBLIC '-//KDE//DTD krita 2.0//EN' 'http://www.calligra.org/DTD/krita-2.0.dtd'>
<DOC xmlns="http://www.calligra.org/DTD/krita" editor="Krita" kritaVersion="5.1.5"
 syntaxVersion="2.0">
 <IMAGE width="64" height="64" name="nijimi" profile={profile} colorspacename="RGBA"
  mime="application/x-kra" x-res="72" y-res="72" description="">
  <layers>
   <layer nodetype="paintlayer" name={name} filename="layer1" compositeop="normal"
    colorspacename="RGBA" opacity="255" visible="1" locked="0" collapsed="0" x="0" y="0"
    channelflags="" channellockflags="" intimeline="0" colorlabel="0" onionskin="0"
    uuid="{{2d1c9a62-9a55-4f0c-8a3c-0d8f5f5a7c01}}">
    <masks>
     <mask nodetype="transparencymask" name={mask} filename="mask2" visible="1" locked="0"
      x="0" y="0" intimeline="0" colorlabel="0"
      uuid="{{2d1c9a62-9a55-4f0c-8a3c-0d8f5f5a7c02}}"/>
    </masks>
   </layer>
  </layers>
 </IMAGE>
</DOC>
"""

_NO_TILES = "VERSION 2\nTILEWIDTH 64\nTILEHEIGHT 64\nPIXELSIZE {bytes}\nDATA 0\n"


def apply_masked(
    journal: Journal,
    app: Any,
    document: Any,
    pixels: bytes | bytearray,
    extent: Extent,
    area: Bounds,
    name: str,
    selection: SelectionMask | None,
    *,
    of_selection: bool,
) -> str:
    """Add a layer with a transparency mask where Krita puts a new layer: one undo step, at rest.
    The layer's id leaves.

    The mask is what a picture of a selection shows; for a whole picture what is selected, and
    all where nothing is. What it hides is there, for a brush to bring it back.
    """
    colours, mask = picture_and_mask(pixels, extent, area, selection, of_selection=of_selection)
    with (
        journal.change(document_id(document), "add a layer with a picture"),
        _layer_with_mask(app, colours, mask, area, name) as layer,
    ):
        add_layer(layer, *place_of_new_layer(document))
        return str(layer.uniqueId().toString())


def _write_template(path: str, name: str) -> None:
    """Write a Krita file of one empty layer with one empty transparency mask."""
    text = _DOCUMENT.format(
        profile=quoteattr(SRGB), name=quoteattr(name), mask=quoteattr(tr("Selection"))
    )
    with zipfile.ZipFile(path, "w") as archive:
        # First and as it is: by this a Krita file is known.
        archive.writestr("mimetype", "application/x-krita", zipfile.ZIP_STORED)
        archive.writestr("maindoc.xml", text)
        archive.writestr("nijimi/layers/layer1", _NO_TILES.format(bytes=4))
        archive.writestr("nijimi/layers/layer1.defaultpixel", bytes(4))
        archive.writestr("nijimi/layers/mask2.pixelselection", _NO_TILES.format(bytes=1))
        archive.writestr("nijimi/layers/mask2.pixelselection.defaultpixel", bytes(1))


@contextmanager
def _layer_with_mask(
    app: Any, pixels: bytes, mask: bytes, area: Bounds, name: str
) -> Generator[Any, None, None]:
    """It belongs to nobody yet; add it to a document before this ends. The mask is 0 beside
    ``area``. Raises ``RuntimeError`` where this Krita does not read the file as it should."""
    handle, path = tempfile.mkstemp(suffix=".kra")
    os.close(handle)
    hidden: Any = None
    try:
        _write_template(path, name)
        # Nobody is asked or told anything by a window.
        was_batch = app.batchmode()
        app.setBatchmode(True)
        try:
            hidden = app.openDocument(path)
        finally:
            app.setBatchmode(was_batch)
        layer = _only_layer(hidden).duplicate()
        (own,) = layer.childNodes()
        layer.setPixelData(QtCore.QByteArray(pixels), *area)
        # Older versions answer nothing.
        if own.setPixelData(QtCore.QByteArray(mask), *area) is False:
            raise RuntimeError("Krita did not take the mask's pixels")
        # A copy may have another name.
        layer.setName(name)
        yield layer
    finally:
        if hidden is not None:
            hidden.setModified(False)
            hidden.close()
        with contextlib.suppress(OSError):
            os.remove(path)


def _only_layer(document: Any) -> Any:
    layers = document.topLevelNodes() if document is not None else []
    if len(layers) != 1 or [each.type() for each in layers[0].childNodes()] != ["transparencymask"]:
        raise RuntimeError("Krita did not read a layer with a mask")
    return layers[0]
