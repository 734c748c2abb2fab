"""The canvas room enters; a docker's widget, joined to settings, link and flow, leaves."""

from __future__ import annotations

import functools
from typing import Any

from .canvas.room import CanvasRoom
from .flow import Flow
from .link.connection import Connection
from .link.doctor_run import DoctorRun
from .model.actions import SETTING_ACTIONS
from .model.config import read_config
from .model.controls import Controls
from .model.live_state import LiveState
from .model.models import KnownModels
from .model.picture import APPLY_MASKED, APPLY_REPLACING
from .model.picture_settings import follow_picture, read_text
from .model.report import own_report
from .model.settings import Settings, settings_path
from .model.styles import Styles, own_styles_dir
from .model.tags import read_tags, tags_path
from .set_up import SetUp
from .ui.animation_dialog import AnimationDialog
from .ui.docker import DockerPanel
from .ui.preview_view import PreviewPanel
from .ui.report_dialog import ReportDialog
from .ui.scroll import ScrollPanel

__all__ = ["Contents"]


class Contents:
    """One docker: made when Krita opens a window, ended when Krita does."""

    def __init__(self, room: CanvasRoom) -> None:
        self._room = room
        config = read_config()
        self.settings = Settings(settings_path())
        if config.live_on_start:
            self.settings.set("live", True)
        self.live_state = LiveState()
        self.connection = Connection(
            config.serving_command, remote=config.remote, trouble=config.problem
        )
        self.set_up = SetUp(self.home)
        self.set_up.changed.connect(self._follow_config)
        self.set_up.ready.connect(self._be_ready)
        self.set_up.troubled.connect(lambda what, do: self.live_state.tell("set up", what, do))
        if self.settings.problem is not None:
            self.live_state.tell("settings", *self.settings.problem)
        self.styles = Styles(own_styles_dir())
        self.settings.style = self.styles.get(self.settings.get("style"))
        if self.styles.problems:
            self.live_state.tell("styles", *self.styles.problems[0])
        self.controls = Controls()
        self.models = KnownModels()
        self.connection.received.connect(self.models.take)
        self.flow = Flow(room, self.connection, self.settings, self.live_state, self.controls)
        # A long list is read when the first word is completed, not while Krita starts.
        tags = functools.cache(lambda: read_tags(tags_path()))
        generator = self.flow.generator
        self.panel = DockerPanel(
            self.settings, self.live_state, self.controls, room.icon, room.pose_presets,
            self.models, generator.queue, generator.results, self.styles, tags,
        )  # fmt: skip
        self.widget = ScrollPanel(self.panel)
        self.preview = PreviewPanel(room.icon)
        self.preview_docker: Any = None
        """Krita's, once it has made it."""
        self.report: Any = None
        """The page that was opened last."""
        self.animation: Any = None
        """The questions about an animation that were asked last."""
        self.flow.picture_changed.connect(self.preview.view.set_picture)
        self.preview.view.before_wanted.connect(self._show_canvas)
        rows = self.panel.control_rows
        rows.add_clicked.connect(self.flow.controls.add_active_layer)
        rows.pose_clicked.connect(self.flow.controls.add_person)
        rows.file_chosen.connect(self.flow.controls.add_file)
        rows.find_clicked.connect(self.flow.controls.pose_finder.look_at_canvas)
        rows.picture_chosen.connect(self.flow.controls.pose_finder.look_at_file)
        rows.save_chosen.connect(self.flow.controls.save_pose)
        rows.select_clicked.connect(self.flow.controls.pose_tools.select)
        rows.mirror_clicked.connect(self.flow.controls.pose_tools.mirror)
        self.flow.controls.thumbnails.shown.connect(rows.show_thumbnail)
        row = self.panel.generate_row
        row.generate_clicked.connect(self.flow.generate)
        upscale_row = self.panel.upscale_row
        upscale_row.upscale_clicked.connect(
            lambda: self.flow.generate(self.settings.upscale_params())
        )
        row.cancel_clicked.connect(self._cancel)
        row.batch_cancelled.connect(generator.cancel_batch)
        row.batch_first.connect(generator.first)
        self.panel.results_strip.applied.connect(self.flow.apply_result)
        self.panel.results_strip.settings_taken.connect(self._use_settings_of)
        self.panel.results_strip.opened.connect(self._open_result)
        self.panel.apply_clicked.connect(self.flow.apply)
        self.panel.retry_clicked.connect(self.connection.start)
        self.panel.set_up_clicked.connect(self.set_up.open)
        self.panel.picture_dropped.connect(self._follow_picture)
        self.flow.picture_changed.connect(self.panel.show_picture)
        self.flow.layers_chosen.connect(self.panel.show_layers)
        # Found by the tests and the demo, which run inside Krita beside it.
        self.panel.setProperty("nijimi_contents", self)

    def act(self, name: str) -> None:
        """Do what an action of the menu or a shortcut asks for."""
        if name in SETTING_ACTIONS:
            SETTING_ACTIONS[name](self.settings)
            return
        {
            "nijimi_apply": self.panel.apply,
            "nijimi_apply_mask": lambda: self.panel.apply(APPLY_MASKED),
            "nijimi_apply_replacing": lambda: self.panel.apply(APPLY_REPLACING),
            "nijimi_generate": self.panel.generate_row.generate,
            "nijimi_upscale": self.panel.upscale_row.upscale,
            "nijimi_cancel": self._cancel,
            "nijimi_animation": self._ask_for_animation,
            "nijimi_person": lambda: self.flow.controls.add_person("standing"),
            "nijimi_find_people": self.flow.controls.pose_finder.look_at_canvas,
            "nijimi_select_person": self.flow.controls.pose_tools.select,
            "nijimi_mirror_person": self.flow.controls.pose_tools.mirror,
            "nijimi_prompt": self.panel.focus_prompt,
            "nijimi_preview": self._toggle_preview,
            "nijimi_retry": self.connection.start,
            "nijimi_report": self._show_report,
            "nijimi_set_up": self.set_up.open,
        }[name]()

    def _cancel(self) -> None:
        """Whatever is generated or waits."""
        self.flow.generator.cancel()
        self.flow.animator.cancel()

    def _ask_for_animation(self) -> None:
        """Which frames, and how."""
        self.live_state.forget("generate")
        span = self.flow.animator.span()
        if span is not None:
            drawn, whole = (span.first, span.last), (span.begun, span.end)
            self.animation = AnimationDialog(drawn, whole, self.home())
            self.animation.render_clicked.connect(self.flow.animator.start)
            self.animation.show()

    def _show_report(self) -> None:
        """A page on what is installed and what is wrong, filled as the doctor finds it."""
        own = own_report(self.live_state, self.settings, self._room.krita_version())
        self.report = ReportDialog(own, self.home())
        doctor = DoctorRun(read_config().backend_command, self.report)
        doctor.told.connect(self.report.show_doctor)
        self.report.finished.connect(lambda _: doctor.stop())
        self.report.show()
        doctor.start()

    def _follow_config(self) -> None:
        """Another backend than before, from the next start on."""
        config = read_config()
        self.connection.use(config.serving_command, config.remote)

    def _be_ready(self, is_live: bool, model: str) -> None:
        """The guide is through."""
        self.live_state.forget("set up")
        self.live_state.forget("link")
        if model:
            self.settings.set("model", model)
        if not is_live:
            return
        if self.settings.get("live"):
            self.connection.start()
        else:
            self.settings.set("live", True)

    def home(self) -> Any:
        """Krita's window that the docker is in, a docker that floats included."""
        widget: Any = self.widget
        while widget.parentWidget() is not None:
            widget = widget.parentWidget()
        return widget

    def _toggle_preview(self) -> None:
        if self.preview_docker is not None:
            self.preview_docker.setVisible(not self.preview_docker.isVisible())

    def _show_canvas(self) -> None:
        """The canvas as it is painted, to compare with; not while the pen is down."""
        document = self._room.active_document()
        if document is not None and not self._room.watcher.is_pen_down:
            self.preview.view.set_before(self._room.canvas_image(document))

    def _use_settings_of(self, result_id: int) -> None:
        result = self.flow.generator.results.get(result_id)
        if result is not None:
            live_steps = self.settings.get("num_inference_steps")
            self._follow_text(result.info())
            self.settings.set("num_inference_steps", live_steps)
            self.settings.set("final_steps", result.params.num_inference_steps)

    def _open_result(self, result_id: int) -> None:
        result = self.flow.generator.results.get(result_id)
        if result is not None:
            words = " ".join(result.params.prompt.split())[:40]
            picture = result.picture
            self._room.open_picture(picture.pixels, picture.extent, f"Nijimi: {words}")

    def _follow_picture(self, path: str) -> None:
        self._follow_text(read_text(path))

    def _follow_text(self, text: str) -> None:
        self.settings.forget_style()
        known = [entry.name for entry in self.models.checkpoints()]
        problem = follow_picture(text, self.settings, known, self.models.vaes())
        if problem is None:
            self.live_state.forget("picture")
        else:
            self.live_state.tell("picture", *problem)

    def begin(self) -> None:
        self.flow.begin()
        if not self.connection.has_backend:
            # Told at once, with a button that helps, not at the first press of Live.
            self.connection.tell_trouble()

    def end(self) -> None:
        self.set_up.end()
        self.flow.end()
        self.settings.save()
