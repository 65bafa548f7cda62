"""Work shared among processes."""

import os

import pytest

from sepasr_cli.errors import SepasrError
from sepasr_cli.parallel import run_tasks


@pytest.mark.parametrize("workers", [1, 2])
def test_every_task_is_done_once(workers: int) -> None:
    assert sorted(run_tasks(abs, [-1, 2, -3], workers)) == [1, 2, 3]


def test_a_dead_worker_is_one_line() -> None:
    with pytest.raises(SepasrError, match=r"a worker process died \(out of memory\?\); run the command again"):
        list(run_tasks(os._exit, [1, 1], workers=2))
