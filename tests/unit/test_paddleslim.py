from __future__ import annotations

import json

import pytest

from tests import nets, paddleslim


@pytest.fixture(scope="module")
def by_flag() -> dict[str, dict[str, object]]:
    """The examples where the whole process builds old programs."""
    code = "from tests import paddleslim; paddleslim.main()"
    return dict(json.loads(nets.in_a_process(code, FLAGS_enable_pir_api="0")))


def test_the_examples_train_alike_in_every_form(by_flag: dict[str, dict[str, object]]) -> None:
    by_names = paddleslim.distilled()
    with nets.old_form():
        by_guard = paddleslim.distilled()
    assert by_names.keys() == paddleslim.EXAMPLES.keys()
    assert by_guard == by_names
    assert by_flag == by_names


@pytest.mark.parametrize("example", paddleslim.EXAMPLES)
def test_every_student_weight_moves_and_no_teacher_weight(
    example: str, by_flag: dict[str, dict[str, object]]
) -> None:
    found = by_flag[example]
    assert found["student stayed"] == []
    assert found["added stayed"] == []
    assert found["teacher moved"] == []
    assert found["teacher"] == 6
    losses = found["losses"]
    assert isinstance(losses, list)
    assert losses[0] > losses[-1]
