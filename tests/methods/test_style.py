from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from poseshift.batches import Batch, View
from poseshift.methods.base import Context, OptimiserConfig
from poseshift.methods.style import Style, StyleConfig
from poseshift.models.adain import StyleNetConfig, adain, statistics

Contexts, Batches = Callable[..., Context], Callable[..., Batch]


def made(context: Contexts, **options: object) -> Style:
    torch.manual_seed(3)
    return Style(StyleConfig(**options), context(style=False))


def crossed(given: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    source, target = given.source.view.images, given.target.student.images
    return torch.cat((source[:2], target[2:])), torch.cat((target[:2], source[2:]))


def test_reconstruction_comes_first_and_trains_both(context: Contexts, batch: Batches) -> None:
    method, given = made(context), batch()
    first, second = method.updates(given, 0.0)
    assert (list(first.terms), first.on) == (["reconstruction"], ("encoder", "decoder"))
    assert (list(second.terms), second.on) == (["content", "style"], ("decoder",))
    content, _ = crossed(given)
    expected = (method.net.decoder(method.net.encode(content)) - content).square().mean()
    torch.testing.assert_close(first.total, expected)


def test_content_and_style_are_distances_of_features(context: Contexts, batch: Batches) -> None:
    method, given = made(context, reconstruction_weight=0.0, style_weight=0.25), batch()
    (update,) = method.updates(given, 0.0)
    content, styles = crossed(given)
    with torch.no_grad():
        wanted = method.net.encoder(styles)
        restyled = adain(method.net.encode(content), statistics(wanted[-1]))
        found = method.net.encoder(method.net.decoder(restyled))
        distance = 0.0
        for level in range(4):
            a, b = statistics(found[level]), statistics(wanted[level])
            distance += float((a.mean - b.mean).square().mean() + (a.std - b.std).square().mean())
    torch.testing.assert_close(update.terms["content"].value, (found[-1] - restyled).square().mean())
    assert update.terms["style"].value.item() == pytest.approx(distance, rel=1e-5)
    assert update.terms["style"].weight == 0.25


def test_the_second_update_is_computed_after_the_first_step(context: Contexts, batch: Batches) -> None:
    untouched = list(made(context).updates(batch(), 0.0))[1].total.item()
    method = made(context)
    generator = method.updates(batch(), 0.0)
    next(generator)
    with torch.no_grad():
        for parameter in method.parameters():
            parameter.mul_(0.5)
    assert next(generator).total.item() != pytest.approx(untouched, rel=1e-3)


def small(given: Batch, pictures: Callable[[torch.Tensor], torch.Tensor]) -> Batch:
    """The batch with images of 16×24."""

    def shrunk(view: View) -> View:
        return View(images=pictures(view.images[..., :16, :24]), matrix=view.matrix)

    source, target = given.source, given.target
    return Batch(
        draws=given.draws,
        source=replace(source, view=shrunk(source.view)),
        target=replace(target, student=shrunk(target.student)),
    )


def test_some_steps_make_the_terms_smaller(context: Contexts, batch: Batches) -> None:
    method, given = made(context), small(batch(), lambda x: x.mean((2, 3), keepdim=True).expand_as(x) * 3)
    optimisers = {name: torch.optim.Adam(part.parameters(), lr=3e-3) for name, part in method.parts().items()}
    history: list[dict[str, float]] = []
    for _ in range(25):
        history.append({})
        for update in method.updates(given, 0.0):
            history[-1] |= {name: term.value.item() for name, term in update.terms.items()}
            method.zero_grad()
            update.total.backward()
            for part in update.on:
                optimisers[part].step()
    assert history[-1]["reconstruction"] < 0.5 * history[0]["reconstruction"]


def test_it_makes_a_style_net_and_no_pose_net(context: Contexts) -> None:
    method = made(context)
    assert method.predictor is None
    assert method.student is None
    assert method.style_net is method.net


def test_vgg_trains_the_decoder_alone(context: Contexts, batch: Batches) -> None:
    method = made(context, net=StyleNetConfig(encoder="vgg19"), reconstruction_weight=0.0)
    assert list(method.parts()) == ["decoder"]
    assert list(method.optimisers(OptimiserConfig())) == ["decoder"]
    (update,) = method.updates(small(batch(), lambda x: x), 0.0)
    assert update.on == ("decoder",)
    update.total.backward()
    assert all(parameter.grad is None for parameter in method.net.encoder.parameters())
    assert all(parameter.grad is not None for parameter in method.net.decoder.parameters())


def test_a_run_folder_needs_no_weight_file() -> None:
    config = StyleConfig(net=StyleNetConfig(encoder="vgg19", weights="vgg.safetensors"), style_weight=0.2)
    bare = config.without_weights()
    assert bare.net == StyleNetConfig(encoder="vgg19")
    assert bare.style_weight == 0.2
