"""A random generator enters; a person leaves: pose, clothes, words, and how to draw them.

The skeleton is OpenPose's body of 18 joints (COCO order): nose, neck, right shoulder, elbow and
wrist, the left ones, right hip, knee and ankle, the left ones, eyes and ears. Right and left are
the person's own.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from PIL import Image, ImageDraw

__all__ = ["ACTIONS", "JOINTS", "Person", "draw_person", "random_person"]

JOINTS = 18

Point = tuple[float, float]

_SKIN = ((255, 224, 196), (240, 196, 160), (214, 160, 120), (160, 108, 74), (104, 68, 48))
_HAIR = {"black": (36, 30, 34), "brown": (104, 66, 38), "blond": (238, 206, 112),
         "red": (190, 74, 34), "white": (226, 226, 230)}  # fmt: skip
CLOTHES = {"red": (206, 44, 48), "blue": (52, 96, 200), "green": (56, 144, 74),
           "yellow": (244, 206, 60), "white": (242, 242, 240), "black": (44, 44, 52),
           "purple": (132, 70, 170), "pink": (244, 138, 176), "orange": (240, 132, 40)}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Action:
    """Angles in degrees: 0 hangs down, 90 points to the right of the picture. Upper and lower limb.

    A side view looks to the right.
    """

    words: tuple[str, ...]
    right_arm: tuple[float, float] = (-9, -5)
    left_arm: tuple[float, float] = (9, 5)
    right_leg: tuple[float, float] = (-4, -2)
    left_leg: tuple[float, float] = (4, 2)
    side: bool = False
    lean: float = 0.0


ACTIONS: dict[str, Action] = {
    "standing": Action(words=("standing", "standing still")),
    "waving": Action(words=("waving", "waving a hand"), left_arm=(118, 165)),
    "arms up": Action(words=("with arms up", "cheering"), right_arm=(-150, -168),
                      left_arm=(150, 168)),
    "arms out": Action(words=("with arms out", "with arms spread"), right_arm=(-88, -90),
                       left_arm=(88, 90)),
    "hands on hips": Action(words=("with hands on hips",), right_arm=(-48, 38),
                            left_arm=(48, -38)),
    "pointing": Action(words=("pointing",), left_arm=(84, 88)),
    "dancing": Action(words=("dancing",), right_arm=(-125, -60), left_arm=(70, 140),
                      left_leg=(34, 8), lean=-5),
    "jumping": Action(words=("jumping",), right_arm=(-125, -150), left_arm=(125, 150),
                      right_leg=(-38, 22), left_leg=(38, -22)),
    "walking": Action(words=("walking",), right_arm=(24, 40), left_arm=(-24, -8),
                      right_leg=(-22, -34), left_leg=(24, 10), side=True),
    "running": Action(words=("running",), right_arm=(48, 118), left_arm=(-52, 24),
                      right_leg=(-30, -86), left_leg=(52, -8), side=True, lean=12),
    "sitting": Action(words=("sitting",), right_arm=(28, 62), left_arm=(24, 66),
                      right_leg=(82, 2), left_leg=(86, 6), side=True),
    "kneeling": Action(words=("kneeling",), right_arm=(22, 40), left_arm=(26, 52),
                       right_leg=(6, -86), left_leg=(80, 0), side=True),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Person:
    """Joints in the picture's units (0 to 1 over its side) and how the person looks."""

    who: str
    action: str
    joints: tuple[Point, ...]
    hidden: frozenset[int]
    from_behind: bool
    height: float
    skin: tuple[int, int, int]
    hair: str
    long_hair: bool
    wear: str
    colour: str
    below: tuple[int, int, int]

    def words(self, rng: random.Random) -> str:
        """A true description; details drop out at random."""
        text = f"a {self.who}"
        if rng.random() < 0.5:
            length = ("long " if self.long_hair else "short ") if rng.random() < 0.5 else ""
            text += f" with {length}{self.hair} hair"
        if rng.random() < 0.75:
            article = "an" if self.colour[0] in "aeiou" else "a"
            text += f" in {article} {self.colour} {self.wear}"
        text += f" {rng.choice(ACTIONS[self.action].words)}"
        if self.from_behind:
            text += rng.choice([", from behind", " seen from behind"])
        return text


def random_person(rng: random.Random, x: float, foot: float, height: float) -> Person:
    """A person whose feet stand at ``foot``, about ``height`` tall when upright."""
    who = rng.choice(("woman", "man", "girl", "boy"))
    name = rng.choice(tuple(ACTIONS))
    action = ACTIONS[name]
    flip = action.side and rng.random() < 0.5
    behind = not action.side and rng.random() < 0.18
    joints = _pose(rng, action, child=who in ("girl", "boy"))
    if flip or behind:
        joints = [(-px, py) for px, py in joints]
    hidden: set[int] = set()
    if action.side:
        hidden |= {15, 17} if flip else {14, 16}
    if behind:
        hidden |= {0, 14, 15}
    lowest = max(py for _, py in joints)
    placed = tuple((x + px * height, foot + (py - lowest) * height) for px, py in joints)
    female = who in ("woman", "girl")
    wear = rng.choices(("dress", "shirt", "coat"), (45, 40, 15) if female else (0, 75, 25))[0]
    return Person(
        who=who,
        action=name,
        joints=placed,
        hidden=frozenset(hidden),
        from_behind=behind,
        height=height,
        skin=rng.choice(_SKIN),
        hair=rng.choice(tuple(_HAIR)),
        long_hair=rng.random() < (0.7 if female else 0.12),
        wear=wear,
        colour=rng.choice(tuple(CLOTHES)),
        below=rng.choice(((52, 62, 98), (70, 58, 50), (40, 40, 46), (128, 128, 134))),
    )


def _pose(rng: random.Random, action: Action, *, child: bool) -> list[Point]:
    """Joints about the neck at (0, 0), for a body of height 1; y points down."""
    head = 0.15 if child else 0.115
    torso, upper, fore = 0.29, 0.165, 0.155
    thigh, shin = (0.2, 0.19) if child else (0.24, 0.235)
    wide = 0.03 if action.side else 0.095
    hips = 0.02 if action.side else 0.055

    def limb(start: Point, angles: tuple[float, float], lengths: Point) -> list[Point]:
        points = [start]
        for angle, length in zip(angles, lengths, strict=True):
            turn = math.radians(angle + rng.gauss(0, 7))
            px, py = points[-1]
            points.append((px + math.sin(turn) * length, py + math.cos(turn) * length))
        return points

    lean = math.radians(action.lean + rng.gauss(0, 3))
    hip = (-math.sin(lean) * torso, math.cos(lean) * torso)
    right_arm = limb((-wide, 0.01), action.right_arm, (upper, fore))
    left_arm = limb((wide, 0.01), action.left_arm, (upper, fore))
    right_leg = limb((hip[0] - hips, hip[1]), action.right_leg, (thigh, shin))
    left_leg = limb((hip[0] + hips, hip[1]), action.left_leg, (thigh, shin))
    turn = head * (0.42 if action.side else 0.0)
    nod = rng.gauss(0, 0.01)
    centre = (math.sin(lean) * 0.12 + nod, -0.03 - head)
    nose = (centre[0] + turn, centre[1] + head * 0.18)
    eye, ear = head * 0.3, head * 0.78
    right_eye = (centre[0] + (turn * 0.6 if action.side else -eye), centre[1] - head * 0.12)
    left_eye = (centre[0] + (turn * 0.6 if action.side else eye), centre[1] - head * 0.12)
    # From the side both ears lie a little behind the middle of the head.
    right_ear = (centre[0] - (0.12 * ear if action.side else ear), centre[1])
    left_ear = (centre[0] + (-0.12 * ear if action.side else ear), centre[1])
    return [nose, (0.0, 0.0), *right_arm, *left_arm, *right_leg, *left_leg,
            right_eye, left_eye, right_ear, left_ear]  # fmt: skip


def draw_person(person: Person, size_px: int) -> Image.Image:
    """The person alone, RGBA, on a square of ``size_px``."""
    big = size_px * 2
    image = Image.new("RGBA", (big, big))
    draw = ImageDraw.Draw(image)
    unit = person.height * big
    at = [(px * big, py * big) for px, py in person.joints]
    cloth = (*CLOTHES[person.colour], 255)
    dark = (*(round(c * 0.78) for c in CLOTHES[person.colour]), 255)
    skin, below = (*person.skin, 255), (*person.below, 255)
    dress = person.wear == "dress"

    def thick(a: Point, b: Point, width: float, fill: tuple[int, ...]) -> None:
        draw.line((a, b), fill=fill, width=max(2, round(width * unit)))
        radius = width * unit / 2
        for px, py in (a, b):
            draw.ellipse((px - radius, py - radius, px + radius, py + radius), fill=fill)

    def leg(hip: int) -> None:
        thick(at[hip], at[hip + 1], 0.085, skin if dress else below)
        thick(at[hip + 1], at[hip + 2], 0.065, skin if dress else below)
        ankle, knee = at[hip + 2], at[hip + 1]
        step = 0.035 * unit * (1 if ankle[0] >= knee[0] - 1 else -1)
        thick(ankle, (ankle[0] + step, ankle[1] + 0.012 * unit), 0.05, (58, 44, 40, 255))

    def arm(shoulder: int, fill: tuple[int, ...]) -> None:
        thick(at[shoulder], at[shoulder + 1], 0.062, fill)
        long = person.wear == "coat"
        thick(at[shoulder + 1], at[shoulder + 2], 0.048, fill if long else skin)
        thick(at[shoulder + 2], at[shoulder + 2], 0.055, skin)

    head = math.dist(at[1], at[0]) * 0.92
    centre = ((at[16][0] + at[17][0]) / 2, (at[16][1] + at[17][1]) / 2)
    hair = (*_HAIR[person.hair], 255)
    if person.long_hair and not person.from_behind:
        box = (centre[0] - head * 0.98, centre[1] - head, centre[0] + head * 0.98, at[1][1] + head)
        draw.rounded_rectangle(box, radius=head * 0.8, fill=hair)
    arm(2, dark)
    leg(8)
    leg(11)
    hip_l, hip_r = at[11], at[8]
    middle = ((hip_l[0] + hip_r[0]) / 2, (hip_l[1] + hip_r[1]) / 2)
    grow = 0.045 * unit
    left, right = sorted((at[2][0], at[5][0]))
    low, high = sorted((hip_l[0], hip_r[0]))
    body = [(left - grow, at[1][1]), (right + grow, at[1][1]),
            (high + grow, middle[1] + grow), (low - grow, middle[1] + grow)]  # fmt: skip
    draw.polygon(body, fill=cloth)
    if dress or person.wear == "coat":
        reach = (0.19 if dress else 0.1) * unit
        hem = [(low - grow, middle[1]), (high + grow, middle[1]),
               (high + grow + reach * 0.55, middle[1] + reach),
               (low - grow - reach * 0.55, middle[1] + reach)]  # fmt: skip
        draw.polygon(hem, fill=cloth)
    arm(5, cloth)
    thick(at[1], (centre[0], centre[1] + head * 0.5), 0.05, skin)
    draw.ellipse((centre[0] - head, centre[1] - head * 1.1, centre[0] + head, centre[1] + head),
                 fill=hair if person.from_behind else skin)  # fmt: skip
    if person.from_behind:
        if person.long_hair:
            box = (centre[0] - head, centre[1], centre[0] + head, at[1][1] + head)
            draw.rounded_rectangle(box, radius=head * 0.7, fill=hair)
    else:
        cap = (centre[0] - head * 1.05, centre[1] - head * 1.2,
               centre[0] + head * 1.05, centre[1] + head * 0.9)  # fmt: skip
        draw.pieslice(cap, 180, 360, fill=hair)
        for joint in (14, 15):
            if joint not in person.hidden:
                px, py = at[joint]
                r = head * 0.13
                draw.ellipse((px - r, py - r, px + r, py + r), fill=(40, 32, 36, 255))
        px, py = at[0]
        mouth = (px - head * 0.25, py + head * 0.1, px + head * 0.25, py + head * 0.45)
        draw.arc(mouth, 20, 160, fill=(150, 60, 60, 255), width=max(2, round(head * 0.1)))
    return image.resize((size_px, size_px), Image.Resampling.BOX)
