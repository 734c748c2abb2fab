"""Actions, their keys and Krita's own resources, used from inside Krita by the driver plugin."""

from krita import Krita


def action_tip(name):
    return Krita.instance().action(name).toolTip()


def give_key(name, key):
    """As the shortcut editor does."""
    Krita.instance().action(name).setShortcut(key)
    yield 100
    return Krita.instance().action(name).shortcut().toString()


def palette(name):
    """How many colours a palette has that Krita knows; None where it knows none of that name."""
    from krita import Palette

    resource = Krita.instance().resources("palette").get(name)
    return None if resource is None else Palette(resource).numberOfEntries()
