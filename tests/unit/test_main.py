from __future__ import annotations

import contextlib
import io
import re
import subprocess
import sys
from pathlib import Path

import attrs
import matplotlib.image
import numpy as np
import paddle
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

import purdist
from purdist import CustomLoss, LossSpec
from purdist.__main__ import main
from purdist.demo import digits, networks, report
from purdist.demo.catalogue import LESSONS, Lesson
from purdist.losses import CATALOGUE
from tests.nets import ROOT, in_a_process
from tests.profiles import SLOW

ROW = re.compile(
    r"(teacher|student alone|student by \w+(?: \+ \w+)*) +([\d,]+)" + r" +(\d\.\d{4})" * 3
)


@attrs.frozen
class Run:
    folder: Path
    output: str

    @property
    def rows(self) -> dict[str, tuple[int, float, float, float]]:
        return {
            who: (int(parameters.replace(",", "")), float(mean), float(lowest), float(highest))
            for who, parameters, mean, lowest, highest in ROW.findall(self.output)
        }


def run(folder: Path, *arguments: str) -> Run:
    with contextlib.redirect_stdout(io.StringIO()) as output:
        main([*arguments, "--picture", str(folder / "curves.png")])
    return Run(folder, output.getvalue())


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The demonstration cut short, with an exported student."""
    folder = tmp_path_factory.mktemp("demonstration")
    return run(folder, "--seeds", "1", "--epochs", "5", "--export", str(folder / "student"))


def course(seed: int, epochs: int = 1) -> digits.Course:
    return digits.Course(*digits.load_scans(), epochs, seed, after_epoch=lambda: None)


# --- what it tells ----------------------------------------------------------------------


def test_the_table_tells_of_teacher_and_both_students(short: Run) -> None:
    assert "1257 scans to learn from, 540 others to test on." in short.output
    header = next(line for line in short.output.splitlines() if "parameters" in line)
    assert header.split() == ["parameters", "accuracy", "lowest", "highest"]
    assert list(short.rows) == ["teacher", "student alone", "student by soft_label"]
    convolutions = (1 * 9 + 1) * 32 + (32 * 9 + 1) * 64
    assert [row[0] for row in short.rows.values()] == [
        convolutions + 257 * 128 + 129 * 10,
        65 * 32 + 33 * 10,
        65 * 32 + 33 * 10,
    ]
    assert all(mean == lowest == highest for _, mean, lowest, highest in short.rows.values())


def test_the_teacher_leads_and_the_distilled_student_is_next(short: Run) -> None:
    teacher, alone, distilled = (row[1] for row in short.rows.values())
    assert 0.7 < alone < distilled < teacher


def test_the_table_spans_the_seeds() -> None:
    network = networks.network(networks.perceptron, seed=0)
    outcomes = [digits.Outcome(network, (0.1, final)) for final in (0.5, 0.75, 1.0)]
    row = report.table({"student alone": outcomes}).splitlines()[1]
    assert row.split() == ["student", "alone", "2,410", "0.7500", "0.5000", "1.0000"]


def test_the_same_seed_gives_the_same_numbers(tmp_path: Path) -> None:
    # With layers of its own, this loss draws on the random state more than others.
    once, again = (
        run(tmp_path, "--loss", "contrastive", "--seeds", "1", "--epochs", "1") for _ in range(2)
    )
    assert once.output == again.output


def test_another_seed_gives_other_numbers() -> None:
    one, other = (digits.alone(course(seed), networks.perceptron) for seed in (0, 1))
    assert one.accuracies != other.accuracies


# --- the losses -------------------------------------------------------------------------


def test_a_lesson_that_is_named_after_a_loss_teaches_by_it() -> None:
    losses: tuple[type[LossSpec], ...] = (*CATALOGUE, CustomLoss)
    of_kind = {loss.kind: loss for loss in losses}
    named = {name: lesson for name, lesson in LESSONS.items() if name in of_kind}
    assert {*LESSONS} - {*named} == {"kd_standardize"}
    for name, lesson in named.items():
        assert {type(loss) for loss in lesson.losses} == {of_kind[name]}


@pytest.fixture(scope="module")
def untrained() -> purdist.Program:
    paddle.enable_static()  # before the first test of a worker, nobody else has
    return networks.network(networks.teacher, seed=0)


@pytest.mark.parametrize("lesson", LESSONS.values(), ids=LESSONS)
def test_a_student_learns_a_step_by_each_loss(lesson: Lesson, untrained: purdist.Program) -> None:
    scans, test = digits.load_scans()
    few = {name: array[: digits.BATCH] for name, array in scans.items()}
    one_step = digits.Course(few, test, epochs=1, seed=0, after_epoch=lambda: None)
    feed = {"image": few["image"]}
    # What the student answers without the loss: from no step, or one by what it stands beside.
    if lesson.baseline is None:
        without = networks.network(lesson.student, seed=0)
    else:
        without = digits.distill(one_step, untrained, lesson.baseline).network

    taught = digits.distill(one_step, untrained, lesson)

    assert taught.parameters == digits.Outcome(without, ()).parameters
    old, new = (program.run(feed, ["logits"])["logits"] for program in (without, taught.network))
    assert np.isfinite(new).all()
    assert np.abs(new - old).max() > 1e-3


LABELLED = {"cross_entropy", "dkd", "mutual"}


def test_who_needs_labels_says_so() -> None:
    assert {name for name, lesson in LESSONS.items() if lesson.labelled} == LABELLED


def test_a_loss_beside_another_is_shown_with_and_without(tmp_path: Path) -> None:
    shown = run(tmp_path, "--loss", "attention_transfer", "--seeds", "1", "--epochs", "2")
    assert "10 of each digit, the student that is taught by a loss none." in shown.output
    assert "    AttentionTransferLoss('teacher_late', 'late', weight=1000.0)\n" in shown.output
    whole, without = "student by kd + attention_transfer", "student by kd"
    assert list(shown.rows) == ["teacher", "student alone", without, whole]
    assert len({shown.rows[who][0] for who in ("student alone", without, whole)}) == 1
    assert shown.rows[whole][1] != shown.rows[without][1]


def test_two_students_that_learn_together_use_labels_and_one_is_counted(tmp_path: Path) -> None:
    export = ("--export", str(tmp_path / "student"))
    shown = run(tmp_path, "--loss", "mutual", "--seeds", "1", "--epochs", "2", *export)
    assert (
        "10 of each digit, the student that is taught by a loss those of all scans." in shown.output
    )
    whole, without = "student by cross_entropy + mutual", "student by cross_entropy"
    assert list(shown.rows) == ["teacher", "student alone", without, whole]
    assert shown.rows[whole][0] == shown.rows[without][0] == shown.rows["student alone"][0]
    assert (
        f"The student by cross_entropy + mutual of seed 0, accuracy {shown.rows[whole][1]:.4f}"
        in (shown.output)
    )
    program = purdist.from_exported(tmp_path / "student")
    assert not [name for name in program.variables if name.startswith("peer_")]


# --- what it writes ---------------------------------------------------------------------


def test_the_files_are_those_that_were_asked_for(short: Run) -> None:
    names = {path.name for path in short.folder.iterdir()}
    assert names == {"curves.png", "student.json", "student.manifest", "student.pdiparams"}


def test_the_picture_shows_a_curve_of_each(short: Run) -> None:
    picture = matplotlib.image.imread(short.folder / "curves.png", format="png")
    assert picture.shape == (750, 1200, 4)
    for colour, _ in report.STYLES[:3]:
        distance = np.abs(picture[:, :, :3] - to_rgb(colour)).max(axis=2)
        assert (distance < 0.01).sum() > 500


def test_a_picture_that_fails_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Figure, draft: Path, **options: object) -> None:
        draft.write_bytes(b"half of a new one")
        raise OSError("disk full")

    monkeypatch.setattr(Figure, "savefig", fail)
    picture = tmp_path / "curves.png"
    picture.write_bytes(b"the old one")
    outcome = digits.Outcome(networks.network(networks.perceptron, seed=0), (0.5,))
    with pytest.raises(OSError, match="disk full"):
        report.draw({who: [outcome] for who in ("teacher", "student", "other")}, picture)
    assert picture.read_bytes() == b"the old one"
    assert list(tmp_path.iterdir()) == [picture]


def test_the_exported_student_has_the_accuracy_that_is_printed(short: Run) -> None:
    executor = paddle.static.Executor()
    program, feeds, fetches = paddle.static.load_inference_model(
        str(short.folder / "student"), executor
    )
    _, test = digits.load_scans()
    (logits,) = executor.run(program, feed={feeds[0]: test["image"]}, fetch_list=fetches)
    accuracy = float((logits.argmax(axis=1) == test["label"]).mean())
    assert f"The student by soft_label of seed 0, accuracy {accuracy:.4f}, is in" in short.output
    assert short.rows["student by soft_label"][1] == round(accuracy, 4)


def test_who_reads_one_line_gets_the_picture_and_no_log(tmp_path: Path) -> None:
    picture = tmp_path / "curves.png"
    arguments = ("--seeds", "1", "--epochs", "1", "--picture", str(picture))
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "purdist", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as demonstration:
        assert demonstration.stdout is not None
        assert demonstration.stderr is not None
        assert demonstration.stdout.readline().startswith("1257 scans")
        demonstration.stdout.close()
        lines = demonstration.stderr.read().splitlines()
    assert demonstration.returncode == 0
    assert picture.exists()
    # Nothing of Paddle's log, no traceback: what is shown of the progress.
    assert [line for line in lines if "epoch" not in line] == []
    assert "3/3" in lines[-1]
    assert "seed 0: student by soft_label" in lines[-1]


def test_a_run_that_is_killed_and_started_again_goes_on(tmp_path: Path) -> None:
    out = in_a_process(
        f"""
        import contextlib, glob, os, pathlib, signal, time
        from purdist.__main__ import main

        os.chdir({str(tmp_path)!r})

        def begun(*options):
            listening, telling = os.pipe()
            process = os.fork()
            if process:
                os.close(telling)
                return process, listening
            with open(telling, "w") as output, contextlib.redirect_stdout(output):
                try:
                    main(["--seeds", "1", "--epochs", "3", "--picture", "curves.png", *options])
                except SystemExit as refusal:
                    print(refusal)
            os._exit(0)

        def ended(process, listening):
            with open(listening) as printed:
                text = printed.read()
            assert os.waitpid(process, 0)[1] == 0
            return text, pathlib.Path("curves.png").read_bytes()

        def checkpoints():
            return len(glob.glob("run/*/*/*.checkpoint.json"))

        undisturbed = ended(*begun())
        kept = [0]
        for more in range({3 if SLOW else 1}):
            process, listening = begun("--checkpoint", "run")
            while checkpoints() < kept[-1] + 2:
                time.sleep(0.001)
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
            kept.append(checkpoints())
        assert kept[-1] < 9, kept
        assert ended(*begun("--checkpoint", "run")) == undisturbed
        assert checkpoints() == 9
        other, _ = ended(*begun("--checkpoint", "run", "--epochs", "4"))
        assert "The checkpoints in 'run' are of another run. Expected a checkpoint of" in other
        assert "T_max=117 there, with T_max=156 here" in other
        print("went on", len(undisturbed[0].splitlines()))
        """
    )
    assert out == "went on 12\n"


# --- options and refusals ---------------------------------------------------------------


def test_help_says_the_options(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["--help"])
    assert exit_.value.code == 0
    printed = " ".join(capsys.readouterr().out.split())  # lines break where the terminal's do
    assert all(
        option in printed
        for option in ("--loss", "--seeds", "--epochs", "--picture", "--export", "--checkpoint")
    )
    assert all(name in printed for name in LESSONS)
    assert "(default: 5)" in printed
    assert "(default: digits.png)" in printed


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (
            ["--loss", "hnt"],
            "argument --loss: expected the name of a loss, got 'hnt': did you mean 'hint' or "
            "'nst'?",
        ),
        (
            ["--loss", "?"],
            "argument --loss: expected the name of a loss, got '?': --help lists them",
        ),
        (["--seeds", "0"], "argument --seeds: expected a whole number above 0, got '0'"),
        (["--epochs", "few"], "argument --epochs: expected a whole number above 0, got 'few'"),
        (["--picture", "."], "argument --picture: expected a file, got the folder '.'"),
        (
            ["--picture", "nowhere/curves.png"],
            "argument --picture: expected a file in a folder that exists, got "
            "'nowhere/curves.png': make 'nowhere'",
        ),
        (
            ["--export", "nowhere/student"],
            "argument --export: expected a file in a folder that exists, got "
            "'nowhere/student': make 'nowhere'",
        ),
        (
            ["--checkpoint", __file__],
            f"argument --checkpoint: expected a folder, got the file {__file__!r}",
        ),
    ],
)
def test_bad_options_are_refused_before_training(
    arguments: list[str],
    fault: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    printed = capsys.readouterr()
    assert printed.err.splitlines()[-1] == f"python -m purdist: error: {fault}"
    assert printed.out == ""


@pytest.mark.parametrize("missing", ["matplotlib", "sklearn"])
def test_a_missing_library_is_named_with_what_to_install(
    missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in list(sys.modules):
        if name.startswith(("purdist.demo", f"{missing}.")):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(SystemExit) as exit_:
        main([])
    assert exit_.value.code == (
        f"The demonstration needs scikit-learn and matplotlib, got no module {missing!r}.\n"
        "Install them: pip install 'purdist[demo]'."
    )


# --- the scans --------------------------------------------------------------------------


def test_the_split_keeps_the_share_of_each_digit() -> None:
    scans, test = digits.load_scans()
    assert scans["image"].shape == (1257, 1, 8, 8)
    assert test["image"].shape == (540, 1, 8, 8)
    assert 0 <= scans["image"].min() < scans["image"].max() == 1
    shares = np.bincount(test["label"]) / np.bincount(scans["label"])
    np.testing.assert_allclose(shares, 540 / 1257, rtol=0.03)


def test_the_few_are_ten_of_each_digit_drawn_by_seed() -> None:
    scans, _ = digits.load_scans()
    few, same, others = (digits.few_of(scans, seed) for seed in (0, 0, 1))
    assert np.bincount(few["label"]).tolist() == [10] * 10
    np.testing.assert_array_equal(few["image"], same["image"])
    assert not np.array_equal(few["image"], others["image"])


def test_a_round_of_batches_holds_every_scan_once_with_its_label() -> None:
    count = 2 * digits.BATCH
    scans = {"image": np.arange(count, dtype="float32"), "label": np.arange(count)}
    batches = digits.batches_of(scans, seed=0)
    rounds = [np.concatenate([next(batches)["label"] for _ in range(2)]) for _ in range(2)]
    assert sorted(rounds[0]) == sorted(rounds[1]) == list(range(count))
    assert not np.array_equal(rounds[0], rounds[1])
    batch = next(batches)
    np.testing.assert_array_equal(batch["image"], batch["label"])
