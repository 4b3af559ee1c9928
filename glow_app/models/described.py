"""Metadata of an image model: class names and recommended sampling settings."""

from collections.abc import Sequence

from glow_app.flows import Glow
from glow_app.messages import is_line
from glow_app.models.base import Density
from glow_app.models.generation_settings import GenerationSettings


class DescribedModel(Density):
    """A density of images with names of its classes and recommended settings."""

    flow: Glow

    def __init__(self) -> None:
        super().__init__()
        self._class_names: tuple[str, ...] = ()
        self._generation = GenerationSettings()

    @property
    def class_names(self) -> tuple[str, ...]:
        """The name of each class, for people; empty where they are not known.

        Raises:
            ValueError: When set, if there are not as many as classes, or one cannot be printed on a line.
        """
        return self._class_names

    @class_names.setter
    def class_names(self, names: Sequence[str]) -> None:
        if names and len(names) != self.flow.num_classes:
            raise ValueError(f"there are {len(names)} names for {self.flow.num_classes or 0} classes")
        if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) and is_line(name) for name in names):
            raise ValueError("the names of the classes are not a list of lines of text")
        self._class_names = tuple(names)

    @property
    def generation(self) -> GenerationSettings:
        """The settings to draw with where none are given: those that ``glow evaluate --tune`` chose, or the usual ones.

        Raises:
            ValueError: When set, if they do not fit the model.
        """
        return self._generation

    @generation.setter
    def generation(self, settings: GenerationSettings) -> None:
        settings.check(len(self.flow.latent_shapes), self.flow.num_classes is not None)
        self._generation = settings

    @property
    def facts(self) -> dict[str, object]:
        """The names of the classes, where they are known."""
        return {"classes": list(self.class_names)} if self.class_names else {}
