"""What holds of `merge` whatever the networks."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st

from purdist import MapDirectionError, NameClashError, Program, Variable, merge
from purdist.testing import Network, NetworkPair, unchanged
from tests.profiles import examples
from tests.properties.pairs import computed, differing, pairs, small

prefixes = st.text("ab_./0", min_size=1, max_size=4)


@settings(max_examples=examples(12))
@given(pairs, prefixes)
def test_a_prefix_renames_one_to_one_and_keeps_shapes_and_dtypes(
    pair: NetworkPair, prefix: str
) -> None:
    teacher, student = pair.programs()

    merged = merge(teacher, student, {"photo": "image"}, name_prefix=prefix)

    theirs = {n: v for n, v in merged.variables.items() if v.owner == "teacher"}
    inferred = [n for n, v in teacher.variables.items() if v.mode != "training"]
    assert list(theirs) == [prefix + name for name in inferred]
    for name in inferred:
        old, new = teacher.variables[name], theirs[prefix + name]
        assert (new.name, new.shape, new.dtype) == (prefix + old.name, old.shape, old.dtype)
    ours = {n: v for n, v in merged.variables.items() if v.owner == "student"}
    assert ours == dict(student.variables)
    assert len(merged.variables) == len(ours) + len(theirs)
    assert merged.inputs == student.inputs


@settings(max_examples=examples(6))
@given(small)
def test_a_prefix_with_which_names_meet_is_refused(network: Network) -> None:
    program = network.program(name="teacher_image")
    clashing = network.program(seed=1)

    with unchanged(program, clashing), pytest.raises(NameClashError):
        merge(clashing, program, {"image": "teacher_image"})


feeds = st.lists(st.sampled_from("abcd"), min_size=1, max_size=3, unique=True)


def with_inputs(network: Network, names: list[str], seed: int) -> Program:
    """A program of as many networks as ``names``, each with one of them as its input."""
    whole = network.program(name=names[0], seed=seed)
    for k, name in enumerate(names[1:]):
        other = network.program(name=f"-{name}", seed=seed + k)
        whole = merge(other, whole, {}, keep_inputs=[f"-{name}"], name_prefix=f"net{k}")
    return whole


@settings(max_examples=examples(15))
@given(st.data(), small)
def test_a_reversed_map_is_refused_and_the_map_it_offers_is_taken(
    data: st.DataObject, network: Network
) -> None:
    teacher = with_inputs(network, data.draw(feeds), seed=1)
    student = with_inputs(network, data.draw(feeds), seed=9)
    chosen = st.permutations(student.inputs).map(lambda p: p[: len(teacher.inputs)])
    assume(len(student.inputs) >= len(teacher.inputs))
    right = dict(zip(teacher.inputs, data.draw(chosen), strict=True))
    reversed_map = {variable: source for source, variable in right.items()}
    # Where both networks call their inputs alike, a map can be right both ways.
    both_ways = set(reversed_map) == set(teacher.inputs) and set(right) <= set(student.variables)
    event(f"right both ways: {both_ways}")

    if both_ways:
        merge(teacher, student, reversed_map)
        return
    with unchanged(teacher, student, reversed_map), pytest.raises(MapDirectionError) as caught:
        merge(teacher, student, reversed_map)

    assert caught.value.turned == right
    assert caught.value.remedy == f"Turn it: data_name_map={right}."
    merged = merge(teacher, student, caught.value.turned)
    assert merged.inputs == student.inputs


@settings(max_examples=examples(12))
@given(pairs)
def test_merged_outputs_are_the_networks_own_to_the_bit(pair: NetworkPair) -> None:
    teacher, student = pair.programs()
    images = pair.student.images(4)

    merged = merge(teacher, student, {"photo": "image"})

    together = merged.run({"image": images}, computed(merged))
    alone = student.run({"image": images}, computed(student))
    taught = teacher.run({"photo": images}, computed(teacher))
    assert len(alone) >= len(pair.student.outputs)
    expected = {**alone, **{f"teacher_{name}": array for name, array in taught.items()}}
    assert differing(together, {**expected, "teacher_photo": images}) == set()


@settings(max_examples=examples(8))
@given(pairs, st.integers(1, 5))
def test_running_again_gives_the_same_bits(pair: NetworkPair, count: int) -> None:
    merged = pair.merged()
    feed = {"image": pair.student.images(count)}
    names = computed(merged)

    once = merged.run(feed, names)
    with unchanged(merged, feed):
        again = merged.run(feed, names)

    assert differing(once, again) == set()


@settings(max_examples=examples(8))
@given(small, small, small)
def test_two_teachers_may_be_merged_in_either_order(
    first: Network, second: Network, student: Network
) -> None:
    one, two = first.program(name="photo", seed=1), second.program(name="scan", seed=2)
    learner = student.program(seed=3)

    def beside(program: Program, teacher: Program, source: str, prefix: str) -> Program:
        return merge(teacher, program, {source: "image"}, name_prefix=prefix)

    straight = beside(beside(learner, one, "photo", "one_"), two, "scan", "two_")
    turned = beside(beside(learner, two, "scan", "two_"), one, "photo", "one_")

    def described(program: Program) -> dict[str, Variable]:
        # Of two weights of one given name, the second bears its prefix: that tells the order.
        return {k: attrs.evolve(v, given_name="") for k, v in program.variables.items()}

    assert described(straight) == described(turned)
    feed = {"image": student.images(3)}
    names = computed(straight)
    assert differing(straight.run(feed, names), turned.run(feed, names)) == set()
