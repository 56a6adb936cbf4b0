"""The XML of "CVAT for images 1.1", read by a parser that expands nothing and fetches nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NoReturn
from xml.parsers import expat

from poseshift.errors import FormatError
from poseshift.types import NOT_LABELLED, OCCLUDED, VISIBLE


@dataclass
class Label:
    """A label of the head of the file."""

    name: str = ""
    parent: str = ""
    svg: str = ""


@dataclass
class Content:
    """What is kept of an XML file while it is read: flat lists, one entry per point."""

    file: str
    labelled: bool = True
    labels: list[Label] = field(default_factory=list)
    images: list[str] = field(default_factory=list)
    shapes: list[tuple[int, str, bool]] = field(default_factory=list)
    points: list[tuple[int, str, float, float, int]] = field(default_factory=list)

    def refuse(self, what: str) -> NoReturn:
        """Raise :class:`FormatError` with the file's name."""
        raise FormatError(f"{self.file!r}: {what}; export the task as CVAT for images 1.1")


class _Reader:
    """Handlers of the XML parser; the tags that matter, the others are passed over."""

    def __init__(self, content: Content) -> None:
        self.content = content
        self.path: list[str] = []
        self.text: list[str] = []
        self.in_skeleton = False

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        content, self.text = self.content, []
        if not self.path and tag != "annotations":
            content.refuse(f"its root is <{tag[:50]}>, expected <annotations>")
        self.path.append(tag)
        if len(self.path) > 50:
            content.refuse("its tags are nested more than 50 deep")
        if tag == "track":
            content.refuse("it holds tracks of a video, which have no images")
        if tag == "label":
            content.labels.append(Label())
        elif tag == "image":
            content.images.append(attributes.get("name") or content.refuse("an <image> has no name"))
        elif tag in ("skeleton", "points") and not content.images:
            content.refuse(f"a <{tag}> stands outside of an <image>")
        elif tag == "skeleton":
            self.in_skeleton = True
            content.shapes.append((len(content.images) - 1, attributes.get("label", ""), True))
        elif tag == "points":
            self._points(attributes)

    def _points(self, attributes: dict[str, str]) -> None:
        content, label = self.content, attributes.get("label", "")
        if not self.in_skeleton:
            content.shapes.append((len(content.images) - 1, label, False))
        text = attributes.get("points", "")
        if not content.labelled:
            places = range(sum(bool(pair.strip()) for pair in text.split(";")))
            content.points += [self._point(label, i, 0.0, 0.0, NOT_LABELLED) for i in places]
            return
        try:
            pairs = [tuple(float(value) for value in pair.split(",")) for pair in text.split(";") if pair.strip()]
        except ValueError:
            pairs = [()]
        image = content.images[-1]
        if any(len(pair) != 2 for pair in pairs) or (self.in_skeleton and len(pairs) > 1):
            content.refuse(f"image {image!r}: points {text[:50]!r}, expected x,y pairs")
        if attributes.get("outside") == "1":
            visible = NOT_LABELLED
        else:
            visible = OCCLUDED if attributes.get("occluded") == "1" else VISIBLE
        if visible and not all(abs(value) < 1e6 for pair in pairs for value in pair):
            content.refuse(f"image {image!r}: points {text[:50]!r} are not finite or beyond 1e6 pixels")
        content.points += [self._point(label, i, x, y, visible) for i, (x, y) in enumerate(pairs)]

    def _point(self, label: str, i: int, x: float, y: float, visible: int) -> tuple[int, str, float, float, int]:
        return len(self.content.shapes) - 1, label if self.in_skeleton else str(i + 1), x, y, visible

    def data(self, text: str) -> None:
        self.text.append(text)

    def end(self, tag: str) -> None:
        self.path.pop()
        if tag == "skeleton":
            self.in_skeleton = False
        if tag in ("name", "parent", "svg") and self.path and self.path[-1] == "label" and self.content.labels:
            setattr(self.content.labels[-1], tag, "".join(self.text).strip())


def parse_xml(text: bytes, file: str, *, labelled: bool = True) -> Content:
    """What an XML file holds.

    Args:
        text: The file.
        file: Its name, for messages.
        labelled: Without it points are counted, but neither their coordinates nor their flags are looked at.

    Raises:
        FormatError: It is no such file, damaged, or declares a document type.
    """
    content = Content(file, labelled=labelled)
    reader, parser = _Reader(content), expat.ParserCreate()

    def doctype(*_: Any) -> None:
        content.refuse("it declares a document type, which is never read")

    parser.StartDoctypeDeclHandler = doctype
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.data
    parser.buffer_text = True
    try:
        parser.Parse(text, True)
    except (expat.ExpatError, ValueError, LookupError) as error:
        content.refuse(f"it is no whole XML ({error})")
    if labelled and not content.points:
        content.refuse("it has no <skeleton> and no <points> with a point")
    return content
