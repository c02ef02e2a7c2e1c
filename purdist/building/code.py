"""The code of a spec: its digest and its build, as one function of the variables."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeAlias

import attrs
import paddle

from purdist import graphs
from purdist.errors import InvalidArgumentError
from purdist.losses.custom import CustomLoss
from purdist.losses.spec import LossSpec

Build: TypeAlias = Callable[[Mapping[str, paddle.Tensor]], object]
Digest: TypeAlias = Callable[[Mapping[str, paddle.Tensor]], Mapping[str, paddle.Tensor]]


@attrs.define(eq=False)
class Code:
    """The code of a spec: `build` on what its digest returned.

    Attributes:
        name: Of the term.
        digest: None if it hands on what it gets.
        build: Makes the scalar.
        taught: The keys of the variables that the digest gets.
        digests: What it returned.
    """

    name: str
    digest: Digest | None
    build: Build
    taught: Collection[str]
    digests: dict[str, paddle.Tensor] = attrs.field(factory=dict, init=False)

    @classmethod
    def of(cls, name: str, spec: LossSpec, taught: Collection[str]) -> Code:
        """That of ``spec`` as it is written."""
        return cls(name, _digest_of(spec), spec.build, taught)

    @classmethod
    @contextmanager
    def converted(cls, name: str, spec: LossSpec, taught: Collection[str]) -> Iterator[Code | None]:
        """The same with its ifs and loops over values as ops, None if it cannot be."""
        with _converted_build(spec) as build, _converted_digest(spec) as digest:
            yield build and cls(name, digest, build, taught)

    def __call__(self, values: Mapping[str, paddle.Tensor]) -> object:
        if self.digest is None or not self.taught:
            self.digests = {key: values[key] for key in self.taught}
            return self.build(values)
        rest = {key: value for key, value in values.items() if key not in self.taught}
        returned = self.digest({key: values[key] for key in self.taught})
        self._check(returned, rest)
        handed_on = set(map(graphs.value_id, values.values()))
        # A copy is what was computed until then, whatever is written over it later.
        self.digests = {
            key: value if graphs.value_id(value) in handed_on else paddle.assign(value)
            for key, value in returned.items()
        }
        return self.build({**rest, **self.digests})

    def _check(self, returned: object, rest: Collection[str]) -> None:
        if not isinstance(returned, Mapping) or not all(map(graphs.is_value, returned.values())):
            raise InvalidArgumentError(
                f"{self.name}: Expected digest to return a mapping from keys to values, got "
                f"{returned!r}.",
                "Return what ops on its argument compute: {'classes': x.argmax(-1)}.",
            )
        clash = [key for key in returned if key in rest]
        if clash:
            raise InvalidArgumentError(
                f"{self.name}: Expected digest to return keys of its own, got "
                f"{', '.join(map(repr, clash))}, which build gets already.",
                "Choose another key.",
            )


def _digest_of(spec: LossSpec) -> Digest | None:
    return None if type(spec).digest is LossSpec.digest else spec.digest


@contextmanager
def _converted_digest(spec: LossSpec) -> Iterator[Digest | None]:
    digest = _digest_of(spec)
    if digest is None:
        yield None
    else:
        with graphs.converted(digest) as converted:
            yield converted or digest


@contextmanager
def _converted_build(spec: LossSpec) -> Iterator[Build | None]:
    if isinstance(spec, CustomLoss) and type(spec).build is CustomLoss.build:
        with graphs.converted(spec.function) as function:
            yield function and (lambda values: function(**values))
    else:
        with graphs.converted(spec.build) as build:
            yield build
