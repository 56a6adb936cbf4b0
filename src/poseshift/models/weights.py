"""Initial weights of a backbone: from a local file, checked strictly, or timm's own when asked for by name."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from poseshift.errors import DataError, UsageError
from poseshift.models.backbones import TimmBackbone

PRETRAINED = "pretrained"

log = logging.getLogger(__name__)


def initialise(backbone: nn.Module, name: str, source: str | None) -> None:
    """Loads weights into ``backbone``, or leaves it random where ``source`` is None. Nothing is downloaded silently.

    Args:
        backbone: What :func:`poseshift.models.backbones.build` gave.
        name: Its name, for messages.
        source: Path of a ``.safetensors`` file of the whole timm net (a classifier in it is left out), or
            ``"pretrained"`` for timm's default weights of that name, whose licence is logged.

    Raises:
        UsageError: The small net has no pretrained weights.
        DataError: The file is missing or broken, or names or shapes differ.
    """
    if source is None:
        return
    if not isinstance(backbone, TimmBackbone):
        raise UsageError(f"model.weights: {source!r} given, but backbone {name!r} has no weights to load; leave it out")
    state = _pretrained(name) if source == PRETRAINED else _read(Path(source))
    _refuse_foreign(backbone.net, name, state, origin=source)
    load_strictly(backbone.net, state, origin=source)


def _pretrained(name: str) -> dict[str, Tensor]:
    import timm

    try:
        net = timm.create_model(name, pretrained=True)
    except (OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"model.weights: timm cannot fetch {name!r} ({reason}); give a .safetensors file") from error
    tag = cast("dict[str, Any]", net.pretrained_cfg)
    log.info("pretrained weights %s.%s, licence: %s", name, tag.get("tag", ""), tag.get("license") or "not stated")
    return dict(net.state_dict())


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise DataError(
            f"model.weights: no file {path}; give a .safetensors file, or 'pretrained' to let timm fetch them"
        )
    try:
        return load_file(path)
    except SafetensorError as error:
        raise DataError(f"model.weights: {path} is no safetensors file ({error}); convert it first") from error


def _refuse_foreign(net: nn.Module, name: str, state: dict[str, Tensor], *, origin: str) -> None:
    """A deeper sibling (ResNet-34 for ResNet-18) has all that ``net`` needs, and more that is no part of it."""
    import timm

    own = net.state_dict()
    with torch.device("meta"):
        whole = timm.create_model(name, pretrained=False).state_dict()
    foreign = sorted(key for key in state if key not in whole and _match(key, own) not in own)
    if foreign:
        raise DataError(f"{origin}: {len(foreign)} tensors are no part of {name}, first {foreign[:3]}; other net?")


def load_strictly(net: nn.Module, state: dict[str, Tensor], *, origin: str) -> None:
    """Every tensor that ``net`` has must be in ``state`` with its shape; what ``state`` has beyond them is left out.

    Floating-point tensors are converted to the dtype of the net. Raises :class:`DataError` with the first differences.
    """
    own = net.state_dict()
    renamed = {_match(key, own): value for key, value in state.items()}
    missing = sorted(set(own) - set(renamed))
    if missing:
        raise DataError(f"{origin}: {len(missing)} of {len(own)} tensors are missing, first {missing[:3]}; other net?")
    wrong = [key for key in own if own[key].shape != renamed[key].shape]
    if wrong:
        key = wrong[0]
        raise DataError(f"{origin}: {key} has shape {tuple(renamed[key].shape)}, expected {tuple(own[key].shape)}")
    with torch.no_grad():
        for key, tensor in own.items():
            tensor.copy_(renamed[key])
    left = sorted(set(renamed) - set(own))
    log.info(
        "loaded %d tensors from %s; left out %d beyond the features, such as %s", len(own), origin, len(left), left[:3]
    )


def _match(key: str, own: dict[str, Tensor]) -> str:
    """timm's feature nets may flatten ``blocks.0`` to ``blocks_0`` and ``layer1.0`` stays: try both spellings."""
    if key in own:
        return key
    for index in range(key.count(".")):
        parts = key.split(".")
        joined = ".".join([*parts[:index], "_".join(parts[index : index + 2]), *parts[index + 2 :]])
        if joined in own:
            return joined
    return key


def licence_of(name: str, source: str | None) -> str:
    """What is known of the licence of initial weights, as :func:`initialise` takes them; nothing is downloaded.

    Args:
        name: Of the backbone.
        source: As configured: a file, ``"pretrained"``, or None.

    Returns:
        A sentence. A file states its licence, or its source, in the metadata of its format, if at all.
    """
    if source is None:
        return "no initial weights"
    if source == PRETRAINED:
        import timm

        known = timm.get_pretrained_cfg(name)
        tag, stated = (None, None) if known is None else (known.tag, known.license)
        return f"{name}.{tag or 'default'} of timm: {stated or 'not stated'}"
    file = Path(source)
    try:
        with safe_open(file, "pt") as opened:
            said = opened.metadata() or {}
    except (OSError, SafetensorError):
        return f"{file.name}: not known, the file is not there any more"
    stated = next((said[key] for key in ("license", "licence", "source") if said.get(key)), "not stated")
    return f"{file.name}: {stated}"
