"""Checkpoints: params, EMA, optimizer and data position of one step in one directory. Only this file knows Orbax."""

import functools
import hashlib
import json
import os
import shutil
import tempfile
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Literal

import jax
import numpy as np
from etils import epath
from orbax.checkpoint import v1 as ocp

from vdm_jax.errors import MisfitError, UserError, first_line
from vdm_jax.files import is_local
from vdm_jax.parallel import processes
from vdm_jax.parallel.rules import path_name
from vdm_jax.train import manifest, markers
from vdm_jax.train.best import Best, metadata_with, rule_of
from vdm_jax.train.checkpoint_config import CheckpointConfig
from vdm_jax.train.failures import check_arrays, explain_unreadable, is_unreadable, misfit, plain_errors, root_of
from vdm_jax.train.markers import COMMITTED, NATIVE
from vdm_jax.train.position import validate_position
from vdm_jax.train.remote_files import copy_below
from vdm_jax.train.state import TrainState

REMOVAL_SECONDS = 0.5  # that a step which is half removed by retention may take to be gone


class Checkpoints:
    """The checkpoints of one run, in `directory`. Saving is asynchronous; use as a context manager, or close it.

    A step counts only once it is complete: Orbax commits a directory by rename (local) or by a marker (gs); for
    any other etils.epath store the files are staged locally and copied, and a marker is written last.
    After that, in a thread, each process writes the sha256 of the files that it wrote (train/manifest.py), and nothing
    is restored that is not as it was written. A run killed in between leaves a step whose bits nobody knows: it is
    restored, and said to be unverified; hashing it then would vouch for what it has become.

    With `writes`, what a killed run left half written is removed, and a damaged step set aside when another one is
    taken: for the one that trains, not for those that look on, as what they find half written may be on its way.
    Where several processes run, all of them call every method but `steps`.
    """

    def __init__(self, directory, config: CheckpointConfig = CheckpointConfig(), *, writes: bool = False):
        # Orbax refuses relative paths
        self.directory = epath.Path(os.path.abspath(directory) if is_local(directory) else directory)
        self.config = config
        self._writes = writes
        self._staged = not (is_local(directory) or str(directory).startswith(NATIVE))
        if self._staged and jax.process_count() > 1:
            raise UserError(
                f'{directory}: several processes write to a shared file system or {" or ".join(NATIVE)} alone'
            )
        self._behind = ThreadPoolExecutor(1, 'manifest')
        self._manifest: Future | None = None
        self._found: dict[int, manifest.Integrity] = {}
        self._adopted: set[int] = set()
        self._best = Best(self, rule_of(config.best))
        self._local = epath.Path(tempfile.mkdtemp(prefix='vdm_jax_') if self._staged else self.directory)
        policies = ocp.training.preservation_policies
        keep = [policies.LatestN(config.keep_last)]
        keep += [policies.EveryNSteps(config.keep_every)] if config.keep_every else []
        keep += [self._best] if config.best else []
        with plain_errors(self.directory), explain_unreadable(self.directory):
            self._orbax = ocp.training.Checkpointer(
                self._local,
                preservation_policy=policies.AnyPreservationPolicy(keep),
                # In a store it takes every step without its marker for one that a kill cut short, and copied ones may
                # lack it: there _adopt removes what is half written.
                cleanup_tmp_directories=writes and is_local(self._local),
            )
        self._unusable = self._adopt()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def steps(self) -> list[int]:
        """Complete steps, oldest first."""
        if not self._staged:
            return sorted(checkpoint.step for checkpoint in self._orbax.checkpoints)

        def is_complete(step):
            return step in self._adopted or (self.directory / str(step) / COMMITTED).exists()

        return [step for step in manifest.steps_of(self.directory) if is_complete(step)]

    def latest(self) -> int | None:
        """The newest complete step that is not damaged, or None where there is no step at all.

        Damaged ones that are newer are named, and set aside by the one that trains.

        Raises:
          UserError: every step is damaged; or the newest, with config.checkpoint.fallback=fail.
        """
        damaged, unusable = [], self._unusable
        for step in reversed(processes.by_first(self.steps)):
            found = self.integrity(step)
            if found.verdict == 'gone':
                continue
            if found.verdict != 'damaged':
                if found.verdict == 'unverified' and self._writes:
                    processes.say(f'checkpoint {step} is {found}')
                break
            damaged.append(f'{self.directory / str(step)} is {found}')
            if self.config.fallback == 'fail':
                raise UserError(f'{damaged[0]}; config.checkpoint.fallback=previous takes the one before it')
        else:
            if damaged or unusable:
                which = 'every checkpoint is damaged' if damaged else 'no checkpoint can be used'
                raise UserError(
                    f'{which}, such as {[*damaged, *unusable.values()][0]}; bring one back from a copy, or start anew '
                    'elsewhere'
                )
            return None
        for why in [*damaged, *unusable.values()]:
            processes.say(f'{why}; taking step {step}')
        if self._writes and (damaged or unusable):

            def newer():
                return [later for later in self.steps() if later > step]

            processes.by_first(lambda: self._set_aside([*newer(), *unusable]))
            self._unusable = {}
            self._orbax.reload()
        return step

    def condemn(self, step: int, why: str) -> None:
        """Has a step count as damaged from here on, whatever its bits: `latest` takes the one before it."""
        self._found[step] = manifest.Integrity('damaged', why)

    def best(self) -> tuple[int, float] | None:
        """(step, value of the metric) of the best step by config.checkpoint.best that is there and not damaged; None
        where there is none, or no such rule.
        """
        return self._best.found()

    def improves(self, validation: dict[str, float]) -> bool:
        """Whether a step with these metrics would be the best one."""
        return self._best.improves(validation)

    def integrity(self, step: int) -> manifest.Integrity:
        """Whether a step's files are as they were written; the processes share them out."""
        if step not in self._found:
            hosts = jax.process_index(), jax.process_count()
            said = processes.gather(json.dumps(manifest.check(self.directory / str(step), *hosts)))
            # 'damaged' < 'intact' < 'unverified', and what is unverified is so for every process
            found = min(manifest.Integrity(*json.loads(each)) for each in said)
            if found.verdict != 'intact' and not self._writes and processes.by_first(lambda: self._goes(step)):
                found = manifest.Integrity('gone')
            self._found[step] = found
        return self._found[step]

    def save(self, step: int, state: TrainState, position: dict, validation: dict[str, float] | None = None) -> None:
        """Starts writing a step; returns once the arrays are copied from the devices. A step that is there stays.

        validation: the metrics of the step, where it was validated; all processes have the same.
        """
        with plain_errors(self.directory):
            self._save(step, state, position, validation or {})

    def _save(self, step: int, state: TrainState, position: dict, validation: dict[str, float]) -> None:
        self._finish()
        if processes.by_first(lambda: step in self.steps()):
            return
        items = {'params': state.params, 'ema': state.ema, 'opt_state': state.opt_state, 'position': position}
        self._best.saves(step, validation)
        about = metadata_with(validation)
        written = self._orbax.save_checkpointables_async(step, items, force=True, custom_metadata=about)
        self._found.pop(step, None)
        self._manifest = self._behind.submit(self._vouch, step, written)
        if self._staged:
            self._finish()
            self._upload(step)

    def restore(self, abstract: TrainState, step: int | Literal['best'] | None = None) -> tuple[TrainState, dict]:
        """State and data position of a step (`latest`; 'best'), onto the shardings of `abstract`.

        Raises:
          UserError: there is no such step, or it is damaged.
        """
        step = self._fetch(step)
        items = {'params': abstract.params, 'ema': abstract.ema, 'opt_state': abstract.opt_state, 'position': None}
        found = self._load(step, items)
        number = jax.device_put(np.int32(step), abstract.step.sharding)
        return TrainState(number, found['params'], found['ema'], found['opt_state']), self._validate_position(
            step, found
        )

    def restore_params(self, abstract: TrainState, step: int) -> dict:
        """The parameters alone."""
        return self._load(self._fetch(step), {'params': abstract.params})['params']

    def restore_one(self, abstract: TrainState, step: int | Literal['best'] | None = None, average: str | None = None):
        """(one tree like params, its step): the average of that name, or the parameters themselves; nothing else is
        read.

        Raises:
          UserError: there is no such step, or it is damaged.
        """
        step = self._fetch(step)
        if average is None or step == 0:  # as in restore_ema
            return self.restore_params(abstract, step), step
        return self._load(step, {'ema': {average: abstract.ema[average]}}, partial=True)['ema'][average], step

    def restore_ema(self, abstract: TrainState, step: int | Literal['best'] | None = None) -> tuple[dict, int]:
        """The averages alone, {decay: params}, and their step; neither params nor optimizer are read."""
        step = self._fetch(step)
        if step == 0:  # weights to begin with: every average is of them alone, whatever the decays
            return dict.fromkeys(abstract.ema, self.restore_params(abstract, step)), step
        return self._load(step, {'ema': abstract.ema})['ema'], step

    def position(self, step: int | None = None) -> dict:
        """The data position of a step (`latest`) alone."""
        step = self._fetch(step)
        return self._validate_position(step, self._load(step, {'position': None}))

    def _validate_position(self, step: int, items: dict) -> dict:
        called = f'{self.directory / str(step)}: its position'
        return processes.together(lambda: validate_position(items['position'], called))

    def wait(self) -> None:
        """Blocks until nothing is being written; an error of an earlier save is raised here, or in the next one."""
        with plain_errors(self.directory):
            self._finish()
            self._orbax.wait()

    def close(self) -> None:
        """Waits for what is being written, and cleans up."""
        with plain_errors(self.directory):
            try:
                self._finish()
            finally:
                self._behind.shutdown()
                self._orbax.close()
                if self._staged:
                    shutil.rmtree(self._local, ignore_errors=True)

    def _load(self, step: int, items: dict, partial: bool = False) -> dict:
        """The items of a step; partial: some arrays of each are enough."""
        found, context = self.integrity(step), ocp.Context()
        context.pytree.loading.partial_load = partial

        def read():
            try:
                with context:
                    values = self._orbax.load_checkpointables(step, items)
                check_arrays(values)
                return values
            except Exception as error:
                place, why = self.directory / str(step), self._misfit(step, items, partial)
                rename = 'if it is damaged, rename it, and the one before it is taken'
                if why and found.verdict == 'intact':
                    raise MisfitError(f'{place}: {why}') from None
                if why:
                    raise MisfitError(f'{place}: it is {found}; {why}; {rename}') from None
                if not is_unreadable(error):
                    raise
                why = first_line(root_of(error))
                raise UserError(f'{place} is {found}; and it cannot be read ({why}): {rename}') from error

        return processes.together(read)

    def _misfit(self, step: int, items: dict, partial: bool) -> str:
        """See failures.misfit; '' too where a step is too damaged to have shapes: whoever asks knows more."""
        try:
            there = self._orbax.checkpointables_metadata(step).metadata
        except Exception:
            return ''
        return misfit(items, there, partial)

    def _finish(self) -> None:
        """Waits until the last save is written and vouched for."""
        done, self._manifest = self._manifest, None
        if done:
            done.result()

    def _vouch(self, step: int, written) -> None:
        written.result()
        manifest.write(self._local / str(step), jax.process_index(), jax.process_count())

    def _goes(self, step: int) -> bool:
        """Whether a step that one looks on, and that lacks files, was being removed by the run that writes."""
        until = time.monotonic() + REMOVAL_SECONDS
        while (there := (self.directory / str(step)).exists()) and time.monotonic() < until:
            time.sleep(REMOVAL_SECONDS / 10)
        return not there

    def _adopt(self) -> dict[int, str]:
        """Takes up the steps in a store that lack its marker, as of a run that was copied there, but are whole.

        One without any manifest is what a kill left of a step: it is removed by the one that trains.

        Returns: what is wrong with each of the others, by step.
        """
        unusable = {}
        for step in processes.by_first(self._unmarked):
            place = self.directory / str(step)
            has_manifest = processes.by_first(functools.partial(manifest.has, place))
            if self._writes and not self._staged and not has_manifest:
                processes.by_first(place.rmtree)
                continue
            found = self.integrity(step)
            mark = functools.partial(markers.mark, place, not self._staged, self._writes)
            if found.verdict == 'intact' and processes.by_first(mark):
                self._adopted.add(step)
            elif found.verdict != 'gone':
                unusable[step] = f'{place} is not complete: {found.why or "its marker cannot be written"}'
        if self._adopted:
            self._orbax.reload()
        return unusable

    def _unmarked(self) -> list[int]:
        """Steps in a store that have no marker there."""
        if is_local(self.directory):
            return []
        complete = self.steps()
        return [step for step in manifest.steps_of(self.directory) if step not in complete]

    def _set_aside(self, steps: list[int]) -> None:
        """Renames steps, file by file where a store knows no rename; Orbax does not see them then."""
        for step in steps:
            source, target, number = self.directory / str(step), self.directory / f'{step}.damaged', 1
            while target.exists():
                number += 1
                target = self.directory / f'{step}.damaged{number}'
            if is_local(source):
                source.rename(target)
            else:
                copy_below(source, target)
                source.rmtree()

    def _fetch(self, step: int | Literal['best'] | None) -> int:
        """The step to read, known to be there and not damaged; brought here from a store that Orbax does not know."""
        if step is None:
            step = self.latest()
        elif step == 'best':
            step = self._best.step()
        if step is None or step not in (steps := processes.by_first(self.steps)):
            what = 'no checkpoint yet' if step is None else f'no checkpoint {step}; found {steps or "none"}'
            what = self._unusable.get(step, what)
            raise UserError(f'{self.directory}: {what}')
        if (found := self.integrity(step)).verdict == 'damaged':
            raise UserError(f'{self.directory / str(step)} is {found}; choose another step of {steps}')
        if found.verdict == 'gone':
            raise UserError(f'{self.directory / str(step)} was removed just now; ask for another step')
        local = self._local / str(step)
        if self._staged and not local.exists():
            copy_below(self.directory / str(step), local)
            if (local / COMMITTED).exists():
                (local / COMMITTED).unlink()
            self._orbax.reload()
        return step

    def _upload(self, step: int) -> None:
        target = self.directory / str(step)
        copy_below(self._local / str(step), target)
        (target / COMMITTED).write_text('')
        steps = self.steps()
        for old in steps:
            if not (self.config.keeps(old, steps) or self._best.is_step(old)):
                if (marker := self.directory / str(old) / COMMITTED).exists():
                    marker.unlink()
                self._adopted.discard(old)
                (self.directory / str(old)).rmtree()


def fingerprint(tree) -> str:
    """sha256 over the names, dtypes, shapes and bytes of every array of a tree, in the order of their names."""
    digest = hashlib.sha256()
    leaves = {path_name(path): np.asarray(leaf) for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]}
    for name, array in sorted(leaves.items()):
        digest.update(f'{name} {array.dtype} {array.shape}\n'.encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
