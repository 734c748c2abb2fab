"""Control layers and poses, made and looked at from inside Krita by the driver plugin."""

from krita import Krita
from nijimi_driver.plugin import contents


def document():
    return Krita.instance().activeDocument()


def add_person(preset):
    """As the docker's menu does."""
    contents().flow.controls.add_person(preset)
    yield lambda: contents().controls.rows


def node_names():
    return [row.node_name for row in contents().controls.rows]


def joints():
    """Of every person in the pose layer, in canvas pixels."""
    from nijimi.canvas.pose_layer import read_people

    row = next(row for row in contents().controls.rows if row.kind == "pose")
    people = read_people(document(), row.node_id)
    return [[list(joint) for joint in person.body] for person in people or ()]


def limbs():
    """Where the ends of a person's limbs are: the middle of each and its length, in pixels."""
    row = next(row for row in contents().controls.rows if row.kind == "pose")
    unit = 72.0 / document().resolution()
    layer = next(node for node in document().topLevelNodes() if node.name() == row.node_name)
    found = {}
    for shape in layer.shapes():
        if "_limb" in shape.name():
            box = shape.boundingBox()
            found[shape.name()] = [
                (box.x() + box.width() / 2) / unit,
                (box.y() + box.height() / 2) / unit,
                shape.visible(),
            ]
    return found


def take_shape_tool():
    Krita.instance().action("InteractionTool").trigger()
    yield 300
    return document().activeNode().name()


def sent_people():
    """The people that the backend was told last."""
    poses = contents().flow.controls._sender._poses
    everybody = [person for people in poses.values() for person in people]
    return [[list(joint) for joint in person.body] for person in everybody]


def add_pose_file(path):
    contents().flow.controls.add_file(path)
    yield 400


def sent_hands():
    """The left hand of everybody whom the backend knows of, as it was sent."""
    poses = contents().flow.controls._sender._poses
    return [
        [[joint.x, joint.y] for joint in person.left_hand]
        for people in poses.values() for person in people
    ]  # fmt: skip


def control_rows():
    return [[row.kind, row.node_name, row.scale, row.enabled] for row in contents().controls.rows]


def update_control(row_id, **values):
    contents().controls.update(row_id, **values)
    yield 100
    return True


def add_active_layer(kind):
    contents().flow.controls.add_active_layer(kind)
    yield 200
    return control_rows()
