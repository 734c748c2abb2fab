"""What can go wrong in the backend, as one tree; a failure enters, a code and two sentences leave.

NijimiError
├── UserError                what was asked for cannot be
│   ├── ModelMissing         no model of that name
│   ├── ModelCorrupt         a model's files are damaged or incomplete
│   ├── BadInput             an option or a value that makes no sense
│   └── BadImage             a picture that cannot be read
├── ResourceError            the machine has not enough
│   ├── OutOfMemory          of memory
│   ├── DeviceLost           of a device that works: this process cannot use it any more
│   ├── DiskFull             of room on the disk
│   ├── DownloadFailed       of a connection
│   └── PortTaken            another program listens there
└── InternalError            our own fault

RenderCancelled              no failure: somebody no longer wants the picture
"""

from __future__ import annotations

__all__ = [
    "BadImage",
    "BadInput",
    "DeviceLost",
    "DiskFull",
    "DownloadFailed",
    "InternalError",
    "ModelCorrupt",
    "ModelMissing",
    "NijimiError",
    "OutOfMemory",
    "PortTaken",
    "RenderCancelled",
    "ResourceError",
    "UserError",
]


class NijimiError(Exception):
    """The root: ``code`` for programs, ``sentence`` and ``action`` for people."""

    code = "internal"

    def __init__(self, sentence: str, action: str = "") -> None:
        super().__init__(f"{sentence} {action}".strip())
        self.sentence = sentence
        self.action = action


class UserError(NijimiError):
    """What was asked for cannot be; ask for something else."""

    code = "user"


class ModelMissing(UserError):
    """There is no model of that name."""

    code = "model_missing"


class ModelCorrupt(UserError):
    """A model's files are damaged, incomplete or of an unknown kind."""

    code = "model_corrupt"


class BadInput(UserError):
    """An option or a value makes no sense."""

    code = "bad_input"


class BadImage(UserError):
    """A picture cannot be read."""

    code = "bad_image"


class ResourceError(NijimiError):
    """The machine has not enough of something."""

    code = "resource"


class OutOfMemory(ResourceError):
    """Not enough memory on the device."""

    code = "out_of_memory"


class DeviceLost(ResourceError):
    """The device failed, and every later call of this process would fail with it."""

    code = "device_lost"


class DiskFull(ResourceError):
    """Not enough room on the disk."""

    code = "disk_full"


class DownloadFailed(ResourceError):
    """A file did not come: no connection, or the server refused."""

    code = "download_failed"


class PortTaken(ResourceError):
    """Another program listens on that port."""

    code = "port_taken"


class InternalError(NijimiError):
    """Our own fault: something happened that must not."""

    code = "internal"


class RenderCancelled(Exception):
    """A picture that nobody wants any more was given up between two steps."""
