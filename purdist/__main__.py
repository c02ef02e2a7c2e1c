"""The demonstration: ``python -m purdist``.

A small network learns from a large one to read handwritten digits. How that is done with
purdist is told in ``purdist/demo/digits.py``; here are the options and the order of things.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from difflib import get_close_matches
from pathlib import Path

import paddle

import purdist
from purdist import processor
from purdist.demo.catalogue import LESSONS
from purdist.demo.keeping import Folder
from purdist.progress import showing


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains the networks, prints a table, draws a picture and exports the student if asked."""
    options = _options().parse_args(arguments)
    processor.set_for_own_process()
    try:
        # Here and not above, because they import what need not be there.
        from purdist.demo import digits, report  # noqa: PLC0415
    except ModuleNotFoundError as error:
        missing = str(error.name).partition(".")[0]
        if missing not in ("matplotlib", "sklearn"):
            raise
        sys.exit(
            f"The demonstration needs scikit-learn and matplotlib, got no module {missing!r}.\n"
            "Install them: pip install 'purdist[demo]'."
        )

    paddle.enable_static()
    lesson = LESSONS[options.loss]
    lessons = [lesson] if lesson.baseline is None else [lesson.baseline, lesson]
    scans, test = digits.load_scans()
    _tell(f"{len(scans['label'])} scans to learn from, {len(test['label'])} others to test on.")
    _tell("\n    ".join(["The student is taught by:", *map(str, lesson.all_losses)]))
    _tell(
        f"Labels: the teacher has those of all scans, the student alone "
        f"{digits.LABELS_PER_CLASS} of each digit, the student that is taught by a loss "
        f"{'those of all scans' if lesson.labelled else 'none'}."
    )
    results: dict[str, list[digits.Outcome]] = defaultdict(list)
    epochs = options.seeds * options.epochs * (2 + len(lessons))
    learned = itertools.count(1)
    with showing("epoch", epochs) as show:

        def course(seed: int, who: str) -> digits.Course:
            def after_epoch() -> None:
                show(next(learned), lambda: f"seed {seed}: {who}")

            folder = Folder.of(options.checkpoint, seed, who) if options.checkpoint else None
            return digits.Course(scans, test, options.epochs, seed, after_epoch, folder)

        with _telling_of_another_run(options.checkpoint):
            for seed in range(options.seeds):
                teacher = digits.teach(course(seed, "teacher"))
                results["teacher"].append(teacher)
                alone = digits.alone(course(seed, "student alone"), lesson.student)
                results["student alone"].append(alone)
                for taught in lessons:
                    who = f"student by {taught.title}"
                    outcome = digits.distill(course(seed, who), teacher.network, taught)
                    results[who].append(outcome)

    try:
        report.draw(results, options.picture)
    finally:
        _tell(f"Accuracy on the test scans: mean, lowest and highest; seeds: {options.seeds}.\n")
        _tell(report.table(results))
    _tell(f"\nThe learning curves are in {options.picture}.")
    if options.export is not None:
        student = results[f"student by {lesson.title}"][0]
        purdist.export(student.network, options.export, ["logits"])
        _tell(_how_to_load(options.export, lesson.title, student.accuracies[-1]))


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m purdist",
        description="A convolutional teacher learns from labelled scans of handwritten digits. A "
        "small student learns from 10 labelled scans per digit alone, and once more from the "
        "teacher by a loss, mostly without any label. Tells how well each reads scans that none "
        "has seen.",
    )
    parser.add_argument(
        "--loss",
        type=_loss,
        default="soft_label",
        metavar="NAME",
        help=f"what to teach by (default: %(default)s): {', '.join(LESSONS)}",
    )
    parser.add_argument(
        "--seeds",
        type=_count,
        default=5,
        metavar="N",
        help="how often to do it all anew, with seeds 0 to N - 1 (default: %(default)s)",
    )
    parser.add_argument(
        "--epochs",
        type=_count,
        default=20,
        metavar="N",
        help="how long each network learns (default: %(default)s)",
    )
    parser.add_argument(
        "--picture",
        type=_target,
        default="digits.png",
        metavar="PATH",
        help="where the picture of the learning curves goes, a PNG (default: %(default)s)",
    )
    parser.add_argument(
        "--export",
        type=_target,
        metavar="PATH",
        help="write the student by the loss, that of seed 0, to PATH.json and PATH.pdiparams",
    )
    parser.add_argument(
        "--checkpoint",
        type=_folder,
        metavar="DIR",
        help="write checkpoints to DIR; killed and started again, it goes on from them",
    )
    return parser


def _loss(text: str) -> str:
    if text not in LESSONS:
        near = " or ".join(map(repr, get_close_matches(text, LESSONS)))
        raise argparse.ArgumentTypeError(
            f"expected the name of a loss, got {text!r}: "
            f"{f'did you mean {near}?' if near else '--help lists them'}"
        )
    return text


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number above 0, got {text!r}")
    return int(text)


def _target(text: str) -> Path:
    """A file that can be written, so far as that can be told before training."""
    path = Path(text)
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"expected a file, got the folder {text!r}")
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(
            f"expected a file in a folder that exists, got {text!r}: make {str(path.parent)!r}"
        )
    if not os.access(path.parent, os.W_OK):
        raise argparse.ArgumentTypeError(
            f"expected a file in a folder that you may write to, got {text!r}"
        )
    return path


def _folder(text: str) -> Path:
    """A folder, or the path of one to make."""
    path = Path(text)
    if path.exists() and not path.is_dir():
        raise argparse.ArgumentTypeError(f"expected a folder, got the file {text!r}")
    return path


@contextmanager
def _telling_of_another_run(folder: Path | None) -> Iterator[None]:
    """Ends in a word where the checkpoints in ``folder`` are of other options."""
    try:
        yield
    except purdist.StaleCheckpointError as error:
        sys.exit(f"The checkpoints in {str(folder)!r} are of another run. {error}")


def _how_to_load(path: Path, title: str, accuracy: float) -> str:
    return (
        f"The student by {title} of seed 0, accuracy {accuracy:.4f}, is in {path}.json and "
        f"{path}.pdiparams. To load it:\n\n"
        "    paddle.enable_static()\n"
        "    program, feeds, fetches = paddle.static.load_inference_model(\n"
        f"        {str(path)!r}, paddle.static.Executor()\n"
        "    )"
    )


def _tell(text: str) -> None:
    """Prints, at once; where nobody reads it any more, as under ``| head -1``, nothing."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # What is left of it would be tried again in the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def _without_log() -> Iterator[None]:
    """Of the standard error, what Python writes is left: Paddle's C++ code logs there."""
    if sys.stderr is None:
        yield
        return
    found = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        with os.fdopen(os.dup(found), "w", buffering=1) as own, redirect_stderr(own):
            os.dup2(nowhere, 2)
            yield
    finally:
        os.dup2(found, 2)
        os.close(found)
        os.close(nowhere)


if __name__ == "__main__":
    with _without_log():
        main()
