"""How each loss of purdist is taught by in the demonstration: ``--loss NAME``.

Temperatures are the losses' own, save where a comment says otherwise. Weights are those of
RepDistiller's ``scripts/run_cifar_distill.sh`` (those of ReviewKD and DKD are mdistiller's, and
1 where neither has the loss). None was tuned for these scans.

Those scripts put a loss beside the cross entropy with labels. Here the students have no
labels, so that `KDLoss` takes its place. Where a loss needs labels, it stands beside the
cross entropy as in its paper, and has the labels of all scans.
"""

from __future__ import annotations

import attrs
import paddle

import purdist
from purdist.demo.networks import Build, convolutional, perceptron


@attrs.frozen
class Lesson:
    """A student, and what it is taught by.

    Attributes:
        name: What ``--loss`` calls it: the kind of the loss, mostly.
        losses: The losses.
        student: Who is taught.
        beside: The losses that they stand beside. A student is taught by these alone, too,
            so that one sees what the others add.
        peer: The student is taught by a second student, which learns too, under the prefix
            ``peer_``, instead of the teacher.
    """

    name: str
    losses: tuple[purdist.LossSpec, ...]
    student: Build = perceptron
    beside: tuple[purdist.LossSpec, ...] = ()
    peer: bool = False

    @property
    def title(self) -> str:
        """All that the student is taught by, in words."""
        return " + ".join([*dict.fromkeys(loss.kind for loss in self.beside), self.name])

    @property
    def all_losses(self) -> tuple[purdist.LossSpec, ...]:
        """All that the student is taught by."""
        return (*self.beside, *self.losses)

    @property
    def labelled(self) -> bool:
        """Whether the student gets to see labels."""
        return any(loss.part(key) == "label" for loss in self.all_losses for key in loss.variables)

    @property
    def baseline(self) -> Lesson | None:
        """The same without the losses in question, if they stand beside others."""
        if not self.beside:
            return None
        return attrs.evolve(self, name=self.beside[0].kind, losses=self.beside, beside=())


# --- what stands between which variables ------------------------------------------------

LOGITS = ("teacher_logits", "logits")
HIDDEN = ("teacher_hidden", "hidden")
LATE = ("teacher_late", "late")
MAPS = (("teacher_early", "early"), LATE)

LABEL = purdist.NewInput("label")
CROSS_ENTROPY = purdist.CrossEntropyLoss("logits", LABEL)
KD = purdist.KDLoss(*LOGITS)


def _between_answers(name: str, loss: purdist.LossSpec) -> Lesson:
    return Lesson(name, (loss,))


def _between_samples(name: str, loss: purdist.LossSpec) -> Lesson:
    """Relations between samples, as they lie in the hidden layer."""
    return Lesson(name, (loss,), beside=(KD,))


def _between_maps(name: str, *losses: purdist.LossSpec) -> Lesson:
    return Lesson(name, losses, convolutional, beside=(KD,))


def absolute_difference(teacher: paddle.Tensor, student: paddle.Tensor) -> paddle.Tensor:
    """A loss of one's own, for `CustomLoss`."""
    return (teacher - student).abs().mean()


# --- the lessons ------------------------------------------------------------------------

_LESSONS = (
    # What the networks answer. Alone, and without labels:
    # Softened by a temperature T, the teacher's answers also tell how much each digit looks
    # like the others. That makes gradients smaller by T squared, which the weight makes good.
    _between_answers("soft_label", purdist.SoftLabelLoss(*LOGITS, 4.0, 4.0, weight=16.0)),
    _between_answers("kd", KD),
    # Temperature and weight are those of logit-standardization-KD.
    _between_answers(
        "kd_standardize", purdist.KDLoss(*LOGITS, temperature=2.0, standardize=True, weight=9.0)
    ),
    _between_answers("spherical_kd", purdist.SphericalKDLoss(*LOGITS)),
    _between_answers("dist", purdist.DISTLoss(*LOGITS)),
    _between_answers("l2", purdist.L2Loss(*LOGITS)),
    _between_answers(
        "custom",
        purdist.CustomLoss(absolute_difference, {"teacher": LOGITS[0], "student": LOGITS[1]}),
    ),
    # With the labels of all scans:
    _between_answers("cross_entropy", CROSS_ENTROPY),
    Lesson("dkd", (purdist.DKDLoss(*LOGITS, LABEL),), beside=(CROSS_ENTROPY,)),
    Lesson(
        "mutual",
        (purdist.MutualLoss("peer_logits", "logits"),),
        beside=(CROSS_ENTROPY, purdist.CrossEntropyLoss("peer_logits", LABEL)),
        peer=True,
    ),
    # How samples relate. The weights of the two of RKD belong together in its paper.
    _between_samples("rkd_distance", purdist.RKDDistanceLoss(*HIDDEN, weight=25.0)),
    _between_samples("rkd_angle", purdist.RKDAngleLoss(*HIDDEN, weight=50.0)),
    _between_samples("pkt", purdist.PKTLoss(*HIDDEN, weight=30_000.0)),
    _between_samples(
        "similarity_preserving", purdist.SimilarityPreservingLoss(*HIDDEN, weight=3_000.0)
    ),
    # Between logits, because it wants both sides equally long.
    _between_samples(
        "correlation_congruence", purdist.CorrelationCongruenceLoss(*LOGITS, weight=0.02)
    ),
    _between_samples("contrastive", purdist.ContrastiveLoss(*HIDDEN, weight=0.8)),
    # Feature maps: the later ones, the earlier ones too where the paper has several stages.
    _between_maps("hint", purdist.HintLoss(*LATE, adaptor="conv_bn_relu", weight=100.0)),
    _between_maps(
        "attention_transfer",
        *(purdist.AttentionTransferLoss(*maps, weight=1_000.0) for maps in MAPS),
    ),
    _between_maps("nst", *(purdist.NSTLoss(*maps, weight=50.0) for maps in MAPS)),
    # In its paper a first stage of training, here beside the others.
    _between_maps(
        "fsp", purdist.FspLoss("teacher_early", "teacher_late", "early", "late", weight=50.0)
    ),
    _between_maps("vid", *(purdist.VIDLoss(*maps) for maps in MAPS)),
    _between_maps("review_kd", purdist.ReviewKDLoss(MAPS)),
    # These networks have no attention. The 16 places of a map stand for tokens, and what the
    # 64 channels say of a place for its query, key and value at once.
    _between_maps(
        "minilm",
        purdist.MiniLMLoss(*("teacher_places",) * 3, *("places",) * 3, heads=4, relations=("qq",)),
    ),
)

LESSONS = {lesson.name: lesson for lesson in _LESSONS}
"""Name -> lesson."""
