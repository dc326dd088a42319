"""kill -9 amid deploys on a real box, over HTTP and by the inbox, with frames going in meanwhile.

KILLED_DEPLOYS=200 makes it the long proof, of about ten minutes; without it, a few rounds.
KILLED_DEPLOYS_SEED chooses other moments.
"""

import logging
import os
import shutil
from pathlib import Path

from tests.appliance.killing import Killing
from tests.appliance.service import Service

log = logging.getLogger(__name__)

_ROUNDS = int(os.environ.get("KILLED_DEPLOYS", "8"))
_SEED = int(os.environ.get("KILLED_DEPLOYS_SEED", "7"))


def test_a_box_that_is_killed_amid_deploys_serves_one_whole_version(
    state: Path, picture: bytes
) -> None:
    """Old or new, new if it said so or had the file; no acknowledged prediction is lost."""
    shutil.rmtree(state, ignore_errors=True)
    with Service(state) as box:
        killing = Killing(box, picture, _SEED)
        killing.begin()
        with killing.frames.going_in():
            for number in range(1, _ROUNDS + 1):
                killing.round(number)
        lost = killing.lost()
    # Shown by `pytest --log-cli-level=warning`.
    log.warning("%d deploys, each killed: %s", _ROUNDS, dict(killing.counts))
    log.warning("%d predictions acknowledged, %d lost", len(killing.frames.acknowledged), len(lost))

    assert lost == set()
    assert killing.frames.wrong == []
    assert killing.counts["service killed"] + killing.counts["supervisor killed"] == _ROUNDS
