"""Named variables: what is known of each before anything runs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Literal, TypeAlias

import attrs

from purdist import graphs
from purdist.checking import Number, shown
from purdist.errors import (
    InvalidArgumentError,
)

Role: TypeAlias = Literal["input", "parameter", "buffer", "activation"]
"""What a variable is: fed, a weight, a running statistic, or computed."""

Owner: TypeAlias = Literal["student", "peer", "teacher", "loss"]
"""Whose a variable is: of a network of that part, or what `apply` added."""

Dtype: TypeAlias = graphs.Dtype
"""A dtype as Paddle writes it."""

Size: TypeAlias = Annotated[int, Number(least=-1, most=2**31 - 1, whole=True)]
"""Of an axis, -1 where it is unknown."""

TEACHER_PREFIX = "teacher_"
"""What `merge` puts before the names of a teacher unless it is told otherwise."""

FLOATS = ("float16", "bfloat16", "float32", "float64")
"""The dtypes that take gradients, from the narrow to the wide."""


def _sizes(shape: Iterable[Size]) -> tuple[int, ...]:
    return tuple(shape)  # `tuple` itself as a converter would take Iterable[Never]


@attrs.frozen
class Variable:
    """What is known of one named variable.

    Attributes:
        name: Its name, unique within the program.
        shape: One entry per axis, -1 where the size is unknown.
        dtype: As Paddle writes it: ``"float32"``, ``"int64"``, ``"bool"``, ...
        role: ``"input"`` is fed; ``"parameter"`` is a weight; ``"buffer"`` is a running
            statistic, written by an op in training and never by an optimizer;
            ``"activation"`` is everything that is computed.
        trainable: Whether an optimizer may write it.
        network: The prefix of the network whose it is: ``""``, ``"teacher_"``, ``"peer_"``; None
            for what a loss made, save that a digest is computed where its teacher is. Of a
            network that was merged, all is one network.
        owner: What that network is: every one is a ``"student"`` until `merge` makes it a
            ``"teacher"`` or `join` a ``"peer"``; what `apply` adds is the ``"loss"``'s.
        op: The op that computes it.
        layer: The path of the layer it was computed in, where Paddle kept one.
        mode: The graph that has it: ``"both"``, or one of them alone.
        given_name: The name that its maker gave a weight, a layer's ``p.name``: what an
            optimizer's functions are asked with.
    """

    name: str
    shape: tuple[int, ...] = attrs.field(converter=_sizes)
    dtype: Dtype
    role: Role
    trainable: bool = False
    network: str | None = ""
    owner: Owner = "student"
    op: str = ""
    layer: str = ""
    mode: graphs.Mode = "both"
    given_name: str = ""

    def __str__(self) -> str:
        """Name, shape and dtype: ``fc [-1, 10] float32``."""
        return f"{self.name} {list(self.shape)} {self.dtype}"


def learns(variable: Variable) -> bool:
    """Whether it is of a network that trains: the student, or a peer of it."""
    return variable.owner in ("student", "peer")


def is_mapped_input(variable: Variable) -> bool:
    """Whether it is an input of its network that reads another network's variable."""
    return (variable.role, variable.op) == ("activation", "data")


def changes(variable: Variable) -> bool:
    """Whether training may change it: the one weight that must not be shared."""
    return variable.owner != "teacher" and (variable.trainable or variable.role == "buffer")


def as_input(variable: Variable, name: str) -> Variable:
    """The same variable, fed under ``name`` instead of computed."""
    return attrs.evolve(variable, name=name, role="input", op="data", layer="")


def is_made_up(variable: Variable, key: str) -> bool:
    """Whether ``key`` says no more of it than its op: ``conv2d_3``."""
    return variable.role == "activation" and bool(
        re.fullmatch(rf"(.*[/_])?{variable.op}_\d+(\.\d+)?_*", key)
    )


def check_name(name: object, what: str) -> None:
    """Refuses a name that Paddle cannot take: it keeps them in UTF-8, and may crash at others.

    Args:
        name: The name.
        what: What it is the name of: ``"an input"``.
    """
    if not isinstance(name, str):
        got = f"{shown(name)}, which is of {type(name).__name__}"
    elif not name:
        got = "an empty text"
    elif "\0" in name:
        got = f"{name!r}, which holds a NUL character"
    elif any(0xD800 <= ord(letter) <= 0xDFFF for letter in name):
        got = f"{name!r}, which UTF-8 cannot encode: it holds half of a surrogate pair"
    else:
        return
    raise InvalidArgumentError(
        f"Expected the name of {what} to be a text, got {got}.", "Choose another name."
    )


def _input_name(_: object, __: object, name: str) -> None:
    check_name(name, "an input")


@attrs.frozen
class NewInput:
    """A feed that a loss asks to be added, such as the labels.

    Attributes:
        name: Under which it is fed.
        shape: One entry per axis, -1 where the size is unknown.
        dtype: As Paddle writes it.

    Raises:
        InvalidArgumentError: The name is none.
    """

    name: str = attrs.field(validator=_input_name)
    shape: tuple[int, ...] = attrs.field(default=(-1,), converter=_sizes)
    dtype: Dtype = "int64"


def name_of(read: str | NewInput) -> str:
    """The name of what a loss reads: a variable, or a new input."""
    return read if isinstance(read, str) else read.name


def describe_values(modes: graphs.Modes, *, owner: Owner = "student") -> dict[str, Variable]:
    """What is known of every named value of a network.

    A value's first name is its `Variable`'s; the others are further keys for the same. Two
    names that mean one value in one graph and two in the other are two variables.
    """
    buffers = graphs.written_parameters(modes.training.program)
    described: dict[str, Variable] = {}
    known: dict[object, Variable] = {}
    for name in modes.names():
        identities = modes.identities(name)
        if identities not in known:
            known[identities] = _describe(name, modes, buffers, owner)
        described[name] = known[identities]
    return described


def check_described(variables: Mapping[str, Variable], modes: graphs.Modes) -> None:
    """Holds the graphs of a network against its variables: they are made in different places.

    Raises:
        RuntimeError: A variable is not in the mode that it says, or not what it says.
    """
    for key, variable in variables.items():
        mode = modes.mode_of(key)
        if mode != variable.mode:
            raise _mistake(f"{key} is in {mode}, not in {variable.mode}")
        if variable.role != "activation" and key == variable.name:
            declared = modes.declared(key)
            if declared != {key}:
                raise _mistake(f"{variable.role} {key} is declared as {declared}")


def _mistake(fault: str) -> RuntimeError:
    return RuntimeError(f"This is a mistake of purdist's own, please report it: {fault}.")


def left_of(variables: Mapping[str, Variable], modes: graphs.Modes) -> dict[str, Variable]:
    """Those of ``variables`` that are left in ``modes``, each in the mode that still has it."""
    found = ((name, variable, modes.mode_of(name)) for name, variable in variables.items())
    return {
        name: variable if mode == variable.mode else attrs.evolve(variable, mode=mode)
        for name, variable, mode in found
        if mode is not None
    }


def _describe(name: str, modes: graphs.Modes, buffers: set[str], owner: Owner) -> Variable:
    value = modes.value(name)
    op = graphs.op_of(value)
    parameter = graphs.parameter_name(op) if graphs.is_parameter(value) else None
    role: Role = "activation"
    if parameter is not None:
        role = "buffer" if parameter in buffers else "parameter"
    elif graphs.is_feed(op):
        role = "input"
    return Variable(
        name=name,
        # Paddle multiplies by -1, too: what a batch of -1 times 3 channels has is -3 to it.
        shape=tuple(max(size, -1) for size in value.shape),
        dtype=graphs.dtype_name(value.dtype),
        role=role,
        trainable=parameter is not None and role == "parameter" and value.trainable,
        network=None if owner == "loss" else "",
        owner=owner,
        op=graphs.short_name(op),
        layer=graphs.layer_of(op),
        mode=modes.mode_of(name) or "both",
        given_name=parameter or "",
    )


def shapes_agree(one: Sequence[int], other: Sequence[int]) -> bool:
    """Whether two shapes can be one: equal rank, and equal sizes where both are known."""
    return len(one) == len(other) and all(
        a == b or -1 in (a, b) for a, b in zip(one, other, strict=True)
    )
