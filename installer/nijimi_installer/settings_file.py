"""The text of a kritarc enters; the same text with one key set leaves, all else untouched."""

from __future__ import annotations

__all__ = ["set_key"]


def set_key(text: str, section: str, key: str, value: str) -> str:
    """Set ``key=value`` in ``[section]``.

    Krita's file repeats keys, keeps odd escapes and an unnamed first section, all of which a
    general parser would rewrite: only one line is touched here.
    """
    end = "\r\n" if "\r\n" in text else "\n"
    lines = text.split(end)
    if lines[-1] == "":
        lines.pop()
    header, wanted = f"[{section}]", f"{key}={value}"
    inside = found = False
    last_header = -1
    for n, line in enumerate(lines):
        if line.lstrip().startswith("["):
            inside = line.strip() == header
            last_header = n if inside else last_header
        elif inside and line.split("=", 1)[0].strip() == key:
            # Repeated sections and keys are all set: whichever Krita takes, it says the same.
            lines[n], found = wanted, True
    if not found and last_header >= 0:
        lines.insert(last_header + 1, wanted)
    elif not found:
        gap = [""] if lines and lines[-1].strip() else []
        lines += [*gap, header, wanted]
    return end.join(lines) + end
