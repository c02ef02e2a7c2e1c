"""The package of `tests.typing.recipes`, held to the kit's laws and to its own."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from purdist import LossSpec
from purdist.testing import (
    LOSS_LAWS,
    PROGRAM_LAWS,
    SPEC_LAWS,
    LossLaw,
    NetworkPair,
    ProgramLaw,
    SpecLaw,
    arrays_for,
    batches,
    specs,
)
from tests.properties.pairs import pairs
from tests.typing import recipes
from tests.typing.recipes import LogCoshLoss, StagesLoss

own = specs(LogCoshLoss, StagesLoss)
mixtures = st.lists(specs(), max_size=2) | st.lists(own, max_size=3)
names = st.sampled_from(sorted(recipes.REGISTRY))


@pytest.mark.parametrize("law", SPEC_LAWS, ids=lambda law: law.__name__)
@settings(max_examples=10)
@given(spec=own)
def test_own_losses_are_values(law: SpecLaw, spec: LossSpec) -> None:
    law(spec)


@pytest.mark.parametrize("law", LOSS_LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("kind", recipes.OWN, ids=lambda kind: kind.__name__)
@settings(max_examples=2)
@given(data=st.data())
def test_own_losses_compute_what_a_loss_does(
    kind: type[LossSpec], law: LossLaw, data: st.DataObject
) -> None:
    spec = data.draw(specs(kind))
    law(spec, **data.draw(arrays_for(spec)))


@settings(max_examples=20)
@given(mixtures)
def test_a_file_of_losses_is_read_as_they_were(losses: list[LossSpec]) -> None:
    text = recipes.to_toml(losses)
    if losses:
        assert recipes.from_toml(text) == tuple(losses)
    assert bool(losses) == ("[[losses]]" in text)


@pytest.mark.parametrize("name", sorted(recipes.REGISTRY))
def test_a_recipe_is_its_own_file_and_moves_to_another_teacher(name: str) -> None:
    losses = recipes.recipe(name)
    assert recipes.from_toml(recipes.to_toml(losses)) == losses
    moved = recipes.recipe(name, prefix="large_")
    assert recipes.reads(moved) == {r.replace("teacher_", "large_") for r in recipes.reads(losses)}
    assert (
        recipes.of_network(
            moved, {n: n.replace("large_", "teacher_") for n in recipes.reads(moved)}
        )
        == losses
    )


@settings(max_examples=20)
@given(names, st.floats(0, 4), st.integers(0, 2_000))
def test_a_recipe_that_is_scaled_is_scaled_at_every_step(
    name: str, scale: float, step: int
) -> None:
    scaled, plain = recipes.recipe(name, scale=scale), recipes.recipe(name)
    for one, other in zip(scaled, plain, strict=True):
        expected = scale * recipes.share(other.weight, step)
        assert recipes.share(one.weight, step) == pytest.approx(expected)


def test_terms_are_told_by_their_fields() -> None:
    assert [recipes.in_words(loss) for loss in recipes.staged()] == [
        "softened by 4 from teacher_logits",
        "labels from label",
        "2 stages",
        "near, watched alone",
    ]
    assert recipes.in_words(recipes.L2_OF_LOGITS) == "logits like teacher_logits"
    assert recipes.in_words(recipes.penalty("logits")) == "custom"


@pytest.mark.parametrize("law", PROGRAM_LAWS, ids=lambda law: law.__name__)
@settings(max_examples=1)
@given(pair=pairs)
def test_its_merge_is_one(law: ProgramLaw, pair: NetworkPair) -> None:
    law(*pair.programs(), pair.data_name_map, merge=recipes.paired)


@settings(max_examples=3)
@given(pair=pairs, name=st.sampled_from(("hinton", "decoupled")), data=st.data())
def test_a_recipe_trains_any_pair(pair: NetworkPair, name: str, data: st.DataObject) -> None:
    teacher, student = pair.programs()
    taught, learnt = pair.outputs
    names = {"teacher_logits": taught, "logits": learnt}
    losses = [*recipes.of_network(recipes.recipe(name), names), recipes.penalty(learnt)]
    given = [
        {**feed, "label": np.arange(len(feed["image"])) % 3}
        for feed in data.draw(batches(student, max_batches=2))
    ]
    trained, told = recipes.distilled(
        teacher, student, pair.data_name_map, losses, given, lambda: paddle.optimizer.SGD(0.01)
    )
    assert len(told) == len(given)
    assert np.isfinite(told).all()
    assert trained.variables == student.variables
