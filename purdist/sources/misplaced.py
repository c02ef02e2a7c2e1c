"""What is Paddle's own, handed to the wrong function: which one takes it."""

from __future__ import annotations

import re
from pathlib import Path

import paddle

from purdist.errors import CorruptFileError, InvalidArgumentError, MissingFileError

_LOADED = ("TranslatedLayer", "PirTranslatedLayer")
"""The layers that ``paddle.jit.load`` returns: a program, and no Python to trace."""

_PICKLED = re.compile(rb"\x80[\x02-\x05][\x95}(c\]]")
"""How what pickle writes begins: its protocol, and a frame, a mapping or a list."""

_SUFFIXES = (".json", ".pdmodel", ".pdiparams", ".pdparams", ".pdopt")


def check_can_be_traced(layer: paddle.nn.Layer) -> None:
    """Refuses a layer that has no ``forward`` of its own to trace."""
    for path, sublayer in layer.named_sublayers(include_self=True):
        kind = type(sublayer).__name__
        if kind in _LOADED:
            where = f" as its sublayer {path!r}" if path else ""
            raise InvalidArgumentError(
                f"Expected a layer whose forward can be traced, got {kind}{where}, which "
                "paddle.jit.load returned.",
                "Give from_exported the path that paddle.jit.load was given.",
            )


def missing_model(path: str) -> MissingFileError:
    """The error for a path with no model: it says what is there instead, and what takes it."""
    given = Path(path)
    bare = given.with_suffix("") if given.suffix in _SUFFIXES else given
    return MissingFileError(
        f"Expected a model at {path!r}, got neither {given.name + '.json'!r} nor "
        f"{given.name + '.pdmodel'!r} there.",
        _of_older_paddle(given)
        or _with_suffix(given, bare)
        or _in_folder(given)
        or _without_weights(bare)
        or "Give the path without a suffix, as it was given to paddle.jit.save.",
    )


def missing_weights(path: Path) -> MissingFileError:
    """The error for a model without the weights that go with it."""
    return MissingFileError(
        f"Expected the weights of the model in {str(path)!r}, got no such file.",
        _without_weights(path.with_suffix(""))
        or "Put it beside the model: the two are written together.",
    )


def _of_older_paddle(given: Path) -> str:
    folder = given if given.is_dir() else given.parent
    if not (folder / "__model__").is_file() or given not in (folder, folder / "__model__"):
        return ""
    return (
        "A folder with __model__ is of an older Paddle: in static mode, under "
        f"paddle.pir_utils.OldIrGuard(), read it with paddle.static.load_inference_model("
        f"{str(folder)!r}, exe, model_filename='__model__', params_filename=...), and give "
        "from_static the program that it returns."
    )


def _with_suffix(given: Path, bare: Path) -> str:
    there = any(Path(f"{bare}{suffix}").is_file() for suffix in (".json", ".pdmodel"))
    if bare == given or not there:
        return ""
    return _without_weights(bare) or f"Give the path without a suffix: {str(bare)!r}."


def _in_folder(given: Path) -> str:
    if not given.is_dir():
        return ""
    models = sorted(p for p in given.iterdir() if p.suffix in (".json", ".pdmodel"))
    if not models:
        return "It is a folder, without a model in it: give the path of one, without a suffix."
    return f"It is a folder: give the path of a model in it, {str(models[0].with_suffix(''))!r}."


def _without_weights(bare: Path) -> str:
    """What to do with a model whose weights are of another kind."""
    weights = Path(f"{bare}.pdparams")
    if not weights.is_file() or Path(f"{bare}.pdiparams").is_file():
        return ""
    return (
        f"There is {weights.name!r}. Where paddle.static.save wrote it, build the program again, "
        f"run its startup program, call paddle.static.load(main, {str(bare)!r}), and give "
        "from_static main. Where paddle.save did, call "
        f"layer.set_state_dict(paddle.load({str(weights)!r})), and give from_layer the layer."
    )


def no_safetensors(path: Path, content: bytes, said: object) -> CorruptFileError:
    """The error for a file of weights that `save_weights` did not write."""
    if path.suffix == ".pdiparams":
        return CorruptFileError(
            f"Expected a safetensors file in {str(path)!r}, got the weights of an exported model.",
            f"Read the model with from_exported({str(path.with_suffix(''))!r}).",
        )
    if path.suffix in (".pdparams", ".pdopt") or _PICKLED.match(content):
        return CorruptFileError(
            f"Expected a safetensors file in {str(path)!r}, got one that paddle.save wrote.",
            f"Bring it in by a layer: layer.set_state_dict(paddle.load({str(path)!r})), and give "
            "from_layer the layer.",
        )
    return CorruptFileError(
        f"Expected a safetensors file in {str(path)!r}, got {said}.",
        "Save the weights again: the file is cut off, damaged or of another format.",
    )
