"""Scratch: where a long run of a job stands, so that another worker can go on from there.

One safetensors file a job, `JOB.FENCE.STEP.DIGEST.safetensors`. The claim under which it was
written is in its name: a worker that was paused past its lease and writes on can neither hide
nor remove what its successor wrote. Scratch remembers what is being erased, so that it goes with
the job: at the latest before its requests are completed.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Collection, Mapping

from core._files import FileStore
from core.checkpoints import SUFFIX, Arrays, Checkpoint, CheckpointCorrupt, deserialise, serialise
from core.points import reached

log = logging.getLogger(__name__)

_NAME = re.compile(rf"(\w+)\.(\d+)\.(\d+)\.([0-9a-f]{{64}}){re.escape(SUFFIX)}")


class ScratchStore(FileStore):
    """The scratch of every job, in one directory, local or on any fsspec URL."""

    def write(
        self, job_id: str, fence: int, step: int, arrays: Arrays, metadata: Mapping[str, str]
    ) -> None:
        """Keep where the job stands after `step` steps, in place of what was kept before.

        What a later claim than `fence` has written stays. Raises OSError: the store cannot be
        written, and what was kept before is kept still.
        """
        data = serialise(arrays, metadata)
        digest = hashlib.sha256(data).hexdigest()
        name = f"{job_id}.{fence}.{step}.{digest}{SUFFIX}"
        reached("scratch:before-write")
        self._publish(name, data)
        reached("scratch:after-write")
        for other in self._of(job_id):
            found = _NAME.fullmatch(other)
            if other != name and (found is None or int(found[2]) <= fence):
                self._remove(other)

    def latest(self, job_id: str) -> Checkpoint | None:
        """What the last claim kept last, if it is sound; what is damaged is passed over.

        Raises OSError: the store cannot be read.
        """
        found = [match for name in self._of(job_id) if (match := _NAME.fullmatch(name))]
        for match in sorted(found, key=lambda m: (int(m[2]), int(m[3])), reverse=True):
            try:
                data = self._read(match[0])
                if hashlib.sha256(data).hexdigest() != match[4]:
                    raise CheckpointCorrupt("its bytes are not what its name says")
                return deserialise(match[4], data)
            except (FileNotFoundError, CheckpointCorrupt) as error:
                log.warning("scratch %s cannot be used: %s", match[0], error)
        return None

    def destroy(self, job_id: str) -> int:
        """Remove all scratch of a job, unfinished files too; returns how many files."""
        return sum(self._remove(name) for name in self._of(job_id))

    def destroy_others(self, keep: Collection[str]) -> list[str]:
        """Remove the scratch of every job that is not in `keep`; returns the files' names."""
        others = [name for name in self._names() if name.partition(".")[0] not in keep]
        return [name for name in others if self._remove(name)]

    def _of(self, job_id: str) -> list[str]:
        return [name for name in self._names() if name.partition(".")[0] == job_id]
