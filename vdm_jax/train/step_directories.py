"""The directories of a run's checkpoints, one for each step, on a disk or in a store.

Orbax commits a directory by rename (local) or by a marker (gs://). For any other store Orbax writes to a copy on this
machine; its files are copied from there, and a marker of ours is written last (markers.py).
"""

import functools
import json
import shutil
import tempfile
import time

import jax
from etils import epath

from vdm_jax.errors import UserError
from vdm_jax.files import is_local
from vdm_jax.parallel import processes
from vdm_jax.train import manifest, markers
from vdm_jax.train.manifest import Integrity
from vdm_jax.train.markers import COMMITTED, NATIVE
from vdm_jax.train.remote_files import copy_files

REMOVAL_SECONDS = 0.5  # that a step which is half removed by retention may take to disappear


class StepDirectories:
    """The directories of the steps below one directory.

    Attributes:
      directory: Where they end up.
      is_staged: Whether Orbax writes to a copy on this machine.
      local: Where Orbax writes them: the directory itself, or that copy.
    """

    def __init__(self, directory: epath.Path, writes: bool):
        """Look at no file yet.

        Args:
          directory: Absolute, or in a store.
          writes: Whether this is the process that trains, rather than one that only reads.

        Raises:
          UserError: Several processes would write to a store that Orbax does not know.
        """
        self.directory = directory
        self.is_staged = not (is_local(directory) or str(directory).startswith(NATIVE))
        if self.is_staged and jax.process_count() > 1:
            raise UserError(
                f'{directory}: several processes write to a shared file system or {" or ".join(NATIVE)} alone'
            )
        self.local = epath.Path(tempfile.mkdtemp(prefix='vdm_jax_')) if self.is_staged else directory
        self._writes = writes
        self._integrity: dict[int, Integrity] = {}
        self._adopted: set[int] = set()  # steps that lack their marker, and count as complete all the same

    def path(self, step: int) -> epath.Path:
        """Return the directory of a step."""
        return self.directory / str(step)

    def integrity(self, step: int) -> Integrity:
        """Return whether a step's files are as they were written; hashed once, and the processes share them out."""
        if step not in self._integrity:
            self._integrity[step] = self._check_integrity(step)
        return self._integrity[step]

    def condemn(self, step: int, why: str) -> None:
        """Have a step count as damaged from here on, whatever its bits."""
        self._integrity[step] = Integrity('damaged', why)

    def forget(self, step: int) -> None:
        """Have a step that is written anew checked anew."""
        self._integrity.pop(step, None)

    def _check_integrity(self, step: int) -> Integrity:
        share = manifest.check(self.path(step), jax.process_index(), jax.process_count())
        shares = [Integrity(*json.loads(text)) for text in processes.gather_texts(json.dumps(share))]
        # 'damaged' < 'intact' < 'unverified', and what is unverified is so for every process.
        integrity = min(shares)
        # The run that trains may be removing the step while this process only reads.
        if integrity.verdict != 'intact' and not self._writes:
            if processes.run_on_primary(lambda: self._was_removed(step)):
                return Integrity('removed')
        return integrity

    def _was_removed(self, step: int) -> bool:
        """Whether a step that lacks files was being removed by the run that trains; waits a little for that."""
        path = self.path(step)
        deadline = time.monotonic() + REMOVAL_SECONDS
        while path.exists():
            if time.monotonic() >= deadline:
                return False
            time.sleep(REMOVAL_SECONDS / 10)
        return True

    def has_marker(self, step: int) -> bool:
        """Return whether a step that was copied into a staged store is complete."""
        return step in self._adopted or (self.path(step) / COMMITTED).exists()

    def list_marked(self) -> list[int]:
        """Return the complete steps of a staged store, oldest first."""
        return [step for step in manifest.list_steps(self.directory) if self.has_marker(step)]

    def remove_unfinished(self, step: int) -> bool:
        """Remove what a kill left of a step in a store that Orbax writes by itself; return whether it was that.

        Such a step has no manifest: none is written before the step is complete.
        """
        path = self.path(step)
        has_manifest = processes.run_on_primary(functools.partial(manifest.has_manifest, path))
        if not self._writes or self.is_staged or has_manifest:
            return False
        processes.run_on_primary(path.rmtree)
        return True

    def adopt(self, step: int) -> bool:
        """Have an intact step that lacks its marker count as complete; return whether it does."""
        mark = functools.partial(markers.mark, self.path(step), not self.is_staged, self._writes)
        if not processes.run_on_primary(mark):
            return False
        self._adopted.add(step)
        return True

    def download(self, step: int) -> bool:
        """Bring a step of a staged store to where Orbax reads it; return whether that was needed."""
        local = self.local / str(step)
        if not self.is_staged or local.exists():
            return False
        copy_files(self.path(step), local)
        # Orbax would take the marker for an item of the checkpoint.
        if (local / COMMITTED).exists():
            (local / COMMITTED).unlink()
        return True

    def upload(self, step: int) -> None:
        """Copy a step that Orbax has written to a staged store, the marker last."""
        copy_files(self.local / str(step), self.path(step))
        (self.path(step) / COMMITTED).write_text('')

    def remove(self, step: int) -> None:
        """Remove a step of a staged store, the marker first: half a step must not look complete."""
        marker = self.path(step) / COMMITTED
        if marker.exists():
            marker.unlink()
        self._adopted.discard(step)
        self.path(step).rmtree()

    def set_aside(self, step: int) -> None:
        """Rename a step, so that Orbax does not see it; file by file where a store knows no rename."""
        source = self.path(step)
        target = self.directory / f'{step}.damaged'
        number = 1
        while target.exists():
            number += 1
            target = self.directory / f'{step}.damaged{number}'

        # A store knows no rename.
        if is_local(source):
            source.rename(target)
        else:
            copy_files(source, target)
            source.rmtree()

    def close(self) -> None:
        """Remove the copy on this machine."""
        if self.is_staged:
            shutil.rmtree(self.local, ignore_errors=True)
