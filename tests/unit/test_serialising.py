"""Losses to plain data and back."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from typing import Any, ClassVar

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import purdist
from purdist import (
    AttentionTransferLoss,
    ContrastiveLoss,
    CrossEntropyLoss,
    CustomLoss,
    DKDLoss,
    HintLoss,
    InvalidArgumentError,
    KDLoss,
    L2Loss,
    LossSpec,
    MiniLMLoss,
    NewInput,
    ReviewKDLoss,
    Schedule,
    losses_from_data,
    losses_to_data,
)
from purdist.losses import CATALOGUE
from tests.losses import each_case
from tests.losses.row import Case
from tests.own_loss import PseudoHuberLoss
from tests.unit.test_schedule import schedules

# What Paddle can take for a name.
names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1)

weights = st.floats(0.1, 10) | schedules
variables = st.sampled_from(("labels", "y")) | st.builds(
    NewInput, st.just("y"), st.tuples(st.integers(-1, 3)), st.sampled_from(("int64", "int32"))
)
losses: st.SearchStrategy[LossSpec] = st.one_of(
    st.builds(
        KDLoss,
        st.text(min_size=1),
        st.just("s"),
        temperature=st.floats(0.1, 9),
        standardize=st.booleans(),
    ),
    st.builds(DKDLoss, st.just("t"), st.just("s"), variables, beta=st.floats(0, 9)),
    st.builds(
        HintLoss, st.just("t"), st.just("s"), adaptor=st.sampled_from((None, "conv", "linear"))
    ),
    st.builds(ContrastiveLoss, st.just("t"), st.just("s"), dimension=st.integers(1, 256)),
    st.builds(ReviewKDLoss, st.lists(st.tuples(st.text(), st.text()), min_size=1, max_size=3)),
    st.builds(
        MiniLMLoss,
        *[st.just(name) for name in "abcdef"],
        relations=st.lists(st.sampled_from(("qq", "qk", "vv")), min_size=1, max_size=3),
        mask=variables | st.none(),
    ),
    st.builds(PseudoHuberLoss, st.just("t"), st.just("s"), name=names),
)
losses = st.builds(lambda loss, weight: loss * weight, losses, weights)


@given(st.lists(losses, max_size=3))
def test_losses_come_back_from_json(specs: list[LossSpec]) -> None:
    data = json.loads(json.dumps(losses_to_data(specs)))
    assert losses_from_data(data, own=[PseudoHuberLoss]) == tuple(specs)


@each_case
def test_every_loss_of_the_catalogue_comes_back(case: Case) -> None:
    spec = case.spec
    if isinstance(spec, CustomLoss):
        with pytest.raises(InvalidArgumentError, match="Expected losses that are data"):
            losses_to_data([spec])
    else:
        data = losses_to_data([spec])
        assert data[0]["kind"] == spec.kind
        assert losses_from_data(data, own=[PseudoHuberLoss]) == (spec,)


def test_what_is_as_by_default_is_left_out() -> None:
    specs = [CrossEntropyLoss("logits", NewInput("label")), 0.5 * KDLoss("t", "s", temperature=4.0)]
    assert losses_to_data(specs) == [
        {"kind": "cross_entropy", "student_var": "logits", "label": {"name": "label"}},
        {"kind": "kd", "teacher_var": "t", "student_var": "s", "weight": 0.5},
    ]


def test_an_experiments_losses_are_kept_in_toml() -> None:
    text = """
        [[losses]]
        kind = "cross_entropy"
        student_var = "logits"
        label = {name = "label", dtype = "int32"}

        [[losses]]
        kind = "attention_transfer"
        teacher_var = "teacher_f"
        student_var = "f"
        p = 1
        name = "attention"

        [[losses]]
        kind = "review_kd"
        pairs = [["teacher_a", "a"], ["teacher_b", "b"]]
        [losses.weight]
        kind = "piecewise"
        pieces = [[0, {kind = "linear", start = 0, end = 2, steps = 10}], [50, 0.5]]
    """
    ramp = Schedule.piecewise({0: Schedule.linear(0, 2, 10), 50: 0.5})
    assert losses_from_data(tomllib.loads(text)["losses"]) == (
        CrossEntropyLoss("logits", NewInput("label", dtype="int32")),
        AttentionTransferLoss("teacher_f", "f", p=1, name="attention"),
        ReviewKDLoss([("teacher_a", "a"), ("teacher_b", "b")], weight=ramp),
    )


KD = {"kind": "kd", "teacher_var": "t", "student_var": "s"}


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (
            [KD, {**KD, "temprature": 3.0}],
            "losses[1].temprature: Expected a field of KDLoss, one of weight, name, teacher_var, "
            "student_var, temperature, standardize.\nDid you mean temperature?",
        ),
        ([{**KD, "temperature": "hot"}], "losses[0].temperature: Expected a number, got 'hot'."),
        (
            [{**KD, "temperature": "4.0"}],
            "losses[0].temperature: Expected a number, got '4.0'.\nWrite it without quotes.",
        ),
        (
            [{**KD, "standardize": "true"}],
            "losses[0].standardize: Expected true or false, got 'true'.\nWrite it without quotes.",
        ),
        ([{**KD, "temperature": "nan"}], "losses[0].temperature: Expected a number, got 'nan'."),
        (
            [{**KD, "weight": {"warmup": 500}}],
            "losses[0].weight: Expected a kind, one of constant, linear, cosine, piecewise, "
            "product, got {'warmup': 500}.\nAdd one: kind = 'constant'.",
        ),
        ([{**KD, "temperature": True}], "losses[0].temperature: Expected a number, got True."),
        ([{**KD, "standardize": 1}], "losses[0].standardize: Expected true or false, got 1."),
        ([{**KD, "teacher_var": 4}], "losses[0].teacher_var: Expected a text, got 4."),
        (
            [{"kind": "kd", "student_var": "s"}],
            "losses[0].teacher_var: Expected a value, got none.\n"
            "Add teacher_var: it has no default.",
        ),
        (
            [{**KD, "temperature": -1}],
            "losses[0].temperature: Expected temperature to be a finite number from 1e-06 to 1000, "
            "got -1.0.\nWrite temperature=4.0 or leave it out.",
        ),
        (
            [
                {
                    **KD,
                    "temperature": 0,
                    "name": "",
                    "weight": {"kind": "cosine", "start": 0, "end": 1, "steps": 0},
                    "t": 1,
                },
                {"kind": "contrastive", "teacher_var": 3, "student_var": "s", "dimension": -1},
                {"kind": "review_kd", "pairs": []},
            ],
            "7 faults:\n1. losses[0].weight.steps: Expected steps to be a whole number above 0, "
            "got 0.\nGive steps such a number.\n"
            "2. losses[0].name: Expected name to be a text of at least one character, got ''.\n"
            "Leave name out to get a numbered one.\n"
            "3. losses[0].temperature: Expected temperature to be a finite number from 1e-06 to "
            "1000, got 0.0.\nWrite temperature=4.0 or leave it out.\n"
            "4. losses[0].t: Expected a field of KDLoss, one of weight, name, teacher_var, "
            "student_var, temperature, standardize.\n"
            "5. losses[1].teacher_var: Expected a text, got 3.\n"
            "6. losses[1].dimension: Expected dimension to be a whole number above 0, got -1.\n"
            "Write dimension=128 or leave it out.\n"
            "7. losses[2].pairs: Expected pairs to hold (teacher's, student's) names, at least "
            "once, got ().\n"
            "Write pairs=[('teacher_layer1', 'layer1'), ('teacher_layer2', 'layer2')].",
        ),
        (
            [{**KD, "weight": {"kind": "linear", "start": 0, "end": 1, "steps": 1.5}}],
            "losses[0].weight.steps: Expected a whole number, got 1.5.",
        ),
        (
            [{**KD, "weight": {"kind": "linnear"}}],
            "losses[0].weight: Expected kind to be one of constant, linear, cosine, piecewise, "
            "product, got 'linnear'.\nDid you mean linear?",
        ),
        (
            [{"kind": "dkd", "teacher_var": "t", "student_var": "s", "label": {"nam": "y"}}],
            "2 faults:\n1. losses[0].label.name: Expected a value, got none.\n"
            "Add name: it has no default.\n"
            "2. losses[0].label.nam: Expected a field of NewInput, one of name, shape, dtype.\n"
            "Did you mean name?",
        ),
        (
            [{"kind": "review_kd", "pairs": [["a", "b"], ["c", 1], ["d"]]}],
            "2 faults:\n1. losses[0].pairs[1][1]: Expected a text, got 1.\n"
            "2. losses[0].pairs[2]: Expected a list of 2, got ['d'].",
        ),
        (
            [{"kind": "review_kd", "pairs": "ab"}],
            "losses[0].pairs: Expected a list, got 'ab'.",
        ),
        (
            [{"kind": "hint", "teacher_var": "t", "student_var": "s", "adaptor": "1x1"}],
            "losses[0].adaptor: Expected one of 'conv', 'conv_bn_relu', 'linear', got '1x1'.",
        ),
        (["kd"], "losses[0]: Expected a loss, got 'kd'.\nWrite a table: {kind = ..., ...}."),
        (
            {"losses": []},
            "Expected data to be a list, got {'losses': []}.\n"
            "losses_from_data says of data: The tables, in a list: of [[losses]] in a TOML file, "
            'tomllib.load(file)["losses"].',
        ),
    ],
)
def test_what_is_wrong_is_said_by_path(data: Any, text: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        losses_from_data(data)
    assert str(caught.value) == text


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")


def nested(data: Any, count: int = 5000) -> Any:
    for _ in range(count):
        data = {"kind": "product", "factors": [data]}
    return data


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({**KD, "weight": 10**400}, "losses[0].weight: Expected a number, got 1000"),
        ({**KD, "weight": Unprintable()}, "losses[0].weight: Expected a number, got a Unprintable"),
        ({**KD, "weight": nested(1.0)}, "losses: Expected tables inside each other to be few"),
        ({**KD, "teacher_var": nested(1.0)}, "losses[0].teacher_var.name: Expected a value"),
        ({**KD, "weight": {"kind": "product", "factors": []}}, "Expected a product of at least"),
        (dict[Any, Any]({**KD, "zz": 2}) | {None: 1}, "losses[0].None: Expected a field of KDLoss"),
        ([[Unprintable()]], "losses[0]: Expected a loss, got a list"),
        ({"kind": Unprintable()}, "losses[0]: Expected kind to be one of hint"),
    ],
    ids=range(8),
)
def test_data_that_no_file_holds_is_refused_alike(data: Any, text: str) -> None:
    with pytest.raises(InvalidArgumentError, match=re.escape(text)):
        losses_from_data([data])


def test_numbers_and_texts_of_ones_own_are_data_as_they_are_arguments() -> None:
    table = {**KD, "teacher_var": np.str_("t"), "temperature": np.float32(2), "weight": np.int8(3)}
    assert losses_from_data([table]) == (3 * KDLoss("t", "s", temperature=2),)


def test_the_name_of_a_class_stands_for_no_kind() -> None:
    for kind in ("KDLoss", "RKDAngleLoss"):
        with pytest.raises(InvalidArgumentError) as caught:
            losses_from_data([{"kind": kind}])
        meant = getattr(purdist, kind).kind
        assert caught.value.remedy.startswith(f"Did you mean {meant}?")


def test_an_unknown_kind_is_refused_with_the_near_one() -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        losses_from_data([{"kind": "kdd"}])
    kinds = ", ".join(loss.kind for loss in CATALOGUE)
    text = f"losses[0]: Expected kind to be one of {kinds}, got 'kdd'."
    assert caught.value.problem == text
    assert caught.value.remedy == "Did you mean kd? One of your own is known by own=[YourLoss]."


def test_a_loss_of_ones_own_is_known_when_it_is_named() -> None:
    data = losses_to_data([PseudoHuberLoss("t", "s", delta=2.0)])
    assert data == [{"kind": "pseudo_huber", "teacher_var": "t", "student_var": "s", "delta": 2.0}]
    with pytest.raises(InvalidArgumentError, match="got 'pseudo_huber'"):
        losses_from_data(data)
    assert losses_from_data(data, own=[PseudoHuberLoss]) == (PseudoHuberLoss("t", "s", delta=2.0),)


def test_every_kind_is_of_one_class() -> None:
    kinds = [spec.kind for spec in purdist.losses.CATALOGUE]
    assert len(set(kinds)) == len(kinds)
    assert L2Loss.kind in kinds


@attrs.frozen
class RangedLoss(purdist.PairLoss):
    """Asks in its own ways."""

    kind: ClassVar[str] = "ranged"

    low: float = attrs.field(default=0.0, kw_only=True, validator=attrs.validators.ge(0))
    high: float = attrs.field(default=1.0, kw_only=True)

    @high.validator
    def _above(self, _: object, high: float) -> None:
        if high <= self.low:
            raise ValueError("high must be above low")

    def build(self, values: Mapping[str, Any]) -> Any: ...


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        (
            {"low": -1.0},
            "losses[0].low: Expected what the loss takes, it says \"'low' must be >= 0: ",
        ),
        ({"low": 2}, "losses[0]: Expected what the loss takes, it says 'high must be above low'."),
    ],
)
def test_what_a_loss_of_ones_own_asks_in_its_own_way_is_told_by_path(
    fields: dict[str, float], text: str
) -> None:
    table = {"kind": "ranged", "teacher_var": "t", "student_var": "s", **fields}
    with pytest.raises(InvalidArgumentError, match=re.escape(text)):
        losses_from_data([table], own=[RangedLoss])


def test_of_two_classes_of_one_kind_none_is_taken_for_the_other() -> None:
    def again() -> type[LossSpec]:
        body = {"kind": "anew", "build": lambda *_: None, "__module__": __name__}
        made: type[LossSpec] = attrs.frozen(type("Anew", (purdist.PairLoss,), body))
        return made

    old, new = again(), again()
    assert losses_from_data([], own=[new, new]) == ()
    with pytest.raises(InvalidArgumentError, match="Expected classes of a kind each, got two of"):
        losses_from_data([], own=[old, new])
    with pytest.raises(InvalidArgumentError, match="is the kind of"):
        attrs.frozen(type("Mine", (KDLoss,), {"__module__": __name__}))
