"""The text of a kritarc enters; the same text with one key set leaves, all else untouched."""

from __future__ import annotations

__all__ = ["set_key"]


def set_key(text: str, section: str, key: str, value: str) -> str:
    """Set ``key=value`` in ``[section]``.

    Krita's file repeats keys, keeps odd escapes and an unnamed first section, all of which a
    general parser would rewrite: only one line is touched here.
    """
    lines = text.splitlines()
    header, wanted = f"[{section}]", f"{key}={value}"
    try:
        start = next(n for n, line in enumerate(lines) if line.strip() == header)
    except StopIteration:
        gap = [""] if lines and lines[-1].strip() else []
        return "\n".join([*lines, *gap, header, wanted]) + "\n"
    end = next(
        (n for n in range(start + 1, len(lines)) if lines[n].lstrip().startswith("[")), len(lines)
    )
    for n in range(start + 1, end):
        if lines[n].split("=", 1)[0].strip() == key:
            lines[n] = wanted
            break
    else:
        lines.insert(start + 1, wanted)
    return "\n".join(lines) + "\n"
