"""Losses between tokens."""

from __future__ import annotations

import purdist
from tests.golden import references as ref
from tests.losses.row import EMBEDDED, LAYERS, QKV, TOKENS, Case, Equation, Given, Refusal, Row, of
from tests.nets import Array


def qkv(given: Given, side: str) -> dict[str, Array]:
    return {name[1:]: array for name, array in of(given, side).items()}


ROWS = [
    Row(
        cases=(
            Case(purdist.MiniLMLoss(*QKV, heads=2), TOKENS),
            Case(
                purdist.MiniLMLoss(*QKV, heads=4, relations=("qk", "vv"), mask="mask"),
                TOKENS,
                tokens=3,
            ),
        ),
        defaults={"heads": 12, "relations": ("qq", "kk", "vv"), "mask": None},
        equations={
            "minilm 2": Equation(
                purdist.MiniLMLoss(*QKV, heads=3),
                EMBEDDED,
                lambda a, _: ref.minilm(qkv(a, "t"), qkv(a, "s"), 3, ("qq", "kk", "vv"), None),
            ),
            "minilm, masked": Equation(
                purdist.MiniLMLoss(*QKV, heads=2, relations=("qk", "vv"), mask="m"),
                {**EMBEDDED, "m": (3, 4)},
                lambda a, _: ref.minilm(qkv(a, "t"), qkv(a, "s"), 2, ("qk", "vv"), a["m"]),
            ),
        },
        refused=(
            Refusal(
                purdist.MiniLMLoss(*QKV, heads=3),
                {**dict.fromkeys(QKV[:3], "-1 7 6"), **dict.fromkeys(QKV[3:], "-1 7 4")},
                "Expected student_query to split into 3 heads, got sq [-1, 7, 4] float32.\n"
                "Choose heads to divide 4.",
            ),
            Refusal(
                purdist.MiniLMLoss(*QKV, heads=2, relations=("qk",)),
                {"tq": "-1 7 6", "tk": "-1 7 6", "sq": "-1 7 4", "sk": "-1 7 6"},
                "Expected student_query and student_key to share D, got sq [-1, 7, 4] float32 and sk "
                f"[-1, 7, 6] float32: axis 2 is 4 against 6.{LAYERS}",
            ),
            Refusal(
                purdist.MiniLMLoss(*QKV, heads=2, relations=("vv",)),
                {"tv": "-1 7 6", "sv": "-1 8 4"},
                "Expected teacher_value and student_value to share N, L, got tv [-1, 7, 6] float32 and "
                f"sv [-1, 8, 4] float32: axis 1 is 7 against 8.{LAYERS}",
            ),
            Refusal(
                purdist.MiniLMLoss(*QKV, heads=2, relations=("vv",), mask="m"),
                {"tv": "-1 7 6", "sv": "-1 7 4", "m": "-1 8 int64"},
                "Expected teacher_value and mask to share N, L, got tv [-1, 7, 6] float32 and m [-1, 8] "
                "int64: axis 1 is 7 against 8.\nName the mask of these tokens.",
            ),
            Refusal(
                purdist.MiniLMLoss(*QKV, heads=2, relations=("vv",), mask="m"),
                {"tv": "-1 7 6", "sv": "-1 7 4", "m": "-1 7 complex64"},
                "Expected mask to be of one of float16, bfloat16, float32, float64, bool, int32, int64, "
                "got m [-1, 7] complex64.\nCast it to int64, 1 for each token and 0 for padding.",
            ),
        ),
        refused_arguments=(
            (
                lambda: purdist.MiniLMLoss(*QKV, relations=("qz",)),
                "Expected relations to be pairs of the letters q, k and v, at least one, got "
                "('qz',).\nWrite relations=('qq', 'kk', 'vv') for MiniLMv2, ('qk', 'vv') for MiniLM.",
            ),
        ),
    ),
]
