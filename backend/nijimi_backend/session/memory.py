"""Nothing enters; memory that was freed stays for the next frame, or goes back to the system."""

from __future__ import annotations

from .glibc import glibc

__all__ = ["give_memory_back", "keep_freed_memory"]

# malloc.h of glibc; see mallopt(3).
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -2, -4, -8
_MOST = 2**31 - 1
_TOP_PAD_BYTES = 64 * 2**20


def keep_freed_memory() -> bool:
    """What is freed is used again by whoever asks next, until ``give_memory_back``.

    glibc maps each large block anew and unmaps it when it is freed, and the kernel clears each of
    its pages at the first touch: 160,000 faults for one picture of 512 px through a tiny
    autoencoder. With one heap that is not trimmed there are next to none. At the beginning of a
    process, before there are threads. Whether it could be done: elsewhere the C library decides.
    """
    options = {
        _M_TRIM_THRESHOLD: _MOST,
        _M_TOP_PAD: _TOP_PAD_BYTES,
        _M_MMAP_MAX: 0,
        # The heap of a thread is of 64 MiB at most; what does not fit is mapped all the same.
        _M_ARENA_MAX: 1,
    }
    change = glibc("mallopt")
    if change is None:
        return False
    done = [change(*option) for option in options.items()]
    return all(done)


def give_memory_back() -> None:
    """After something large was freed: the C library keeps it for itself otherwise.

    Some milliseconds with glibc (malloc_trim(3)); elsewhere nothing, as far as we know there is
    nothing to do.
    """
    if (trim := glibc("malloc_trim")) is not None:
        trim(0)
