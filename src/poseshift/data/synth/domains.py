"""What a procedural domain is: ranges of shape, pose, camera and look. The tables stand in the two files beside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Range = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Camera:
    """Ranges of the view.

    Attributes:
        yaw: Degrees that the body is turned; 0 faces the camera, 90 looks to the right. Mirrored in half of all cases.
        behind: Share of the instances turned by a further 180°.
        elevation: Degrees that the camera looks down.
        roll: Degrees that the picture is turned.
        distance: Of the camera, in body units (a person's height, a dog's likewise); small: strong perspective.
        span: Longer side of the silhouette's box as a share of the picture's side; above 1 it leaves the picture.
        shift: Offset of the box, where ±1 touches the border (or leaves nothing more to show of a larger body).
    """

    yaw: Range
    behind: float
    elevation: Range
    roll: Range
    distance: Range
    span: Range
    shift: Range


@dataclass(frozen=True, kw_only=True)
class Look:
    """Ranges of the appearance; pixel measures hold at a side of 96 and grow with it.

    Attributes:
        ambient: Light from everywhere. ``direct``: light of the lamp. ``oblique``: how far the lamp stands aside.
        hue: Clothes and fur: ``saturation`` and ``brightness`` of their colours.
        patterned: Share of patterned clothes or patched furs. ``pattern``: contrast of a pattern.
        texture: Amplitude of fine texture on the body.
        scenery: Amplitude of the noise in the background. ``clutter``: number of shapes. ``lines``: number of lines.
        ground: Share of pictures with a horizon. ``shadow``: darkness of the shadow on the ground.
        occluders: Number of things in front of the body (at most 3).
        contrast: Factor about the mean. ``gamma``: exponent. ``cast``: gain of each channel.
        blur: Standard deviation, pixels. ``detail``: share of the resolution that is kept.
        noise: Standard deviation of 255. ``jpeg``: quality, 100 for none.
    """

    ambient: Range
    direct: Range
    oblique: Range
    saturation: Range
    brightness: Range
    patterned: float
    pattern: Range
    texture: Range
    scenery: Range
    clutter: Range
    lines: Range
    ground: float
    shadow: Range
    occluders: Range
    contrast: Range
    gamma: Range
    cast: Range
    blur: Range
    detail: Range
    noise: Range
    jpeg: Range


@dataclass(frozen=True, kw_only=True)
class Domain:
    """One procedural domain.

    Attributes:
        name: As in a spec string.
        geometry: Name of the random stream of shapes, poses and cameras: two domains that share it and their ranges
            show the same bodies.
        shape: Lengths and radii in body units.
        poses: Weight of each kind of pose.
        wild: Share of limbs that leave the kind of pose and take any angle in their joint's range.
        gaze: Share of the quadrupeds that look at the camera.
        camera: Ranges of the view.
        look: Ranges of the appearance.
    """

    name: str
    geometry: str
    shape: Mapping[str, Range]
    poses: Mapping[str, float]
    wild: float
    gaze: float
    camera: Camera
    look: Look
