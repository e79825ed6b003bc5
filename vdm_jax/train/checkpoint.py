"""Checkpoints: params, EMA, optimizer and data position of one step in one directory. Only this file knows Orbax."""

import os
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Literal, Self

import jax
import numpy as np
from etils import epath
from orbax.checkpoint import v1 as ocp

from vdm_jax.errors import MisfitError, UserError, first_line
from vdm_jax.files import is_local
from vdm_jax.parallel import processes
from vdm_jax.train import manifest
from vdm_jax.train.best import Best
from vdm_jax.train.best_metric import make_metadata, parse_rule, read_metrics
from vdm_jax.train.checkpoint_config import CheckpointConfig
from vdm_jax.train.failures import (
    check_arrays,
    describe_misfit,
    explain_disk_errors,
    explain_unreadable,
    is_unreadable,
    root_cause,
)
from vdm_jax.train.manifest import Integrity
from vdm_jax.train.position import validate_position
from vdm_jax.train.state import TrainState
from vdm_jax.train.step_directories import StepDirectories
from vdm_jax.train.types import Averages, Params, Position

Items = dict[str, Any]  # the trees that a checkpoint is made of, by name
StepChoice = int | Literal['best'] | None  # None is the newest


class Checkpoints:
    """The checkpoints of one run. Saving is asynchronous; use as a context manager, or close it.

    A step counts only once it is complete (step_directories.py). After that, in a thread, each process writes the
    sha256 of the files that it wrote (manifest.py), and nothing is restored that is not as it was written. A run killed
    in between leaves a step whose bits nobody knows: it is restored, and reported as unverified; hashing it then would
    vouch for what it has become.

    Where several processes run, all of them call every method but `steps`.

    Attributes:
      directory: Where the steps are, one directory each.
      config: Which of them stay, and what to do about a damaged one.
    """

    def __init__(
        self, directory: epath.PathLike, config: CheckpointConfig = CheckpointConfig(), *, writes: bool = False
    ):
        """Open a directory of checkpoints, which need not be there yet.

        Args:
          directory: Any etils.epath.
          config: Which checkpoints stay, and what to do about a damaged one.
          writes: Whether this is the run that trains: what a killed run left half written is removed then, and a
            damaged step is set aside when another one is taken. For one that only reads, what is half written may just
            be on its way.
        """
        # Orbax refuses relative paths.
        self.directory = epath.Path(os.path.abspath(directory) if is_local(directory) else directory)
        self.config = config
        self._writes = writes
        self._directories = StepDirectories(self.directory, writes)
        self._best = Best(self, parse_rule(config.best))

        self._manifest_thread = ThreadPoolExecutor(1, 'manifest')
        self._manifest: Future[None] | None = None

        with explain_disk_errors(self.directory), explain_unreadable(self.directory):
            self._orbax = ocp.training.Checkpointer(
                self._directories.local,
                preservation_policy=self._make_policy(),
                # In a store it takes every step without its marker for one that a kill cut short, and copied ones may
                # lack it: there _adopt_unmarked removes what is half written.
                cleanup_tmp_directories=writes and is_local(self._directories.local),
            )
        self._unusable = self._adopt_unmarked()  # what is wrong with steps that are not complete

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _make_policy(self) -> Any:
        """Return what stays when Orbax removes old steps."""
        policies = ocp.training.preservation_policies
        chosen = [policies.LatestN(self.config.keep_last)]
        if self.config.keep_every:
            chosen.append(policies.EveryNSteps(self.config.keep_every))
        if self.config.best:
            chosen.append(self._best)
        return policies.AnyPreservationPolicy(chosen)

    # Which steps there are.

    def steps(self) -> list[int]:
        """Return the complete steps, oldest first."""
        if self._directories.is_staged:
            return self._directories.list_marked()
        return sorted(checkpoint.step for checkpoint in self._orbax.checkpoints)

    def latest(self) -> int | None:
        """Return the newest complete step that is not damaged, or None where there is no step at all.

        Damaged ones that are newer are named, and set aside by the run that trains.

        Raises:
          UserError: Every step is damaged; or the newest, with config.checkpoint.fallback=fail.
        """
        damaged = []
        for step in reversed(processes.run_on_primary(self.steps)):
            integrity = self.integrity(step)
            # By the run that trains, while this process only reads.
            if integrity.verdict == 'removed':
                continue
            if integrity.verdict == 'damaged':
                damaged.append(f'{self._directories.path(step)} is {integrity}')
                if self.config.fallback == 'fail':
                    raise UserError(f'{damaged[0]}; config.checkpoint.fallback=previous takes the one before it')
                continue
            if integrity.verdict == 'unverified' and self._writes:
                processes.print_on_primary(f'checkpoint {step} is {integrity}')
            self._pass_over([*damaged, *self._unusable.values()], step)
            return step

        reasons = [*damaged, *self._unusable.values()]
        if reasons:
            which = 'every checkpoint is damaged' if damaged else 'no checkpoint can be used'
            raise UserError(f'{which}, such as {reasons[0]}; bring one back from a copy, or start anew elsewhere')
        return None

    def _pass_over(self, reasons: list[str], step: int) -> None:
        """Print why other steps are not taken but `step` is, and set them aside."""
        for reason in reasons:
            processes.print_on_primary(f'{reason}; taking step {step}')
        if not (self._writes and reasons):
            return

        def set_aside() -> None:
            newer = [other for other in self.steps() if other > step]
            for other in [*newer, *self._unusable]:
                self._directories.set_aside(other)

        processes.run_on_primary(set_aside)
        self._unusable = {}
        self._orbax.reload()

    def best(self) -> tuple[int, float] | None:
        """Return (step, value of the metric) of the best step by config.checkpoint.best that is not damaged.

        None where there is none, or no such rule.
        """
        return self._best.find()

    def improves(self, metrics: dict[str, float]) -> bool:
        """Return whether a step with these metrics would be the best one."""
        return self._best.improves(metrics)

    def metrics(self, step: int) -> dict[str, float]:
        """Return the metrics that a step carries, {} where it has none, or is not there."""
        return processes.run_on_primary(lambda: read_metrics(self.directory / str(step)))

    def integrity(self, step: int) -> Integrity:
        """Return whether a step's files are as they were written; the processes share them out."""
        return self._directories.integrity(step)

    def condemn(self, step: int, why: str) -> None:
        """Have a step count as damaged from here on, whatever its bits: `latest` takes the one before it."""
        self._directories.condemn(step, why)

    def _adopt_unmarked(self) -> dict[int, str]:
        """Take up the steps in a store that lack its marker, as of a run that was copied there, but are intact.

        One without any manifest is what a kill left of a step: the run that trains removes it.

        Returns:
          What is wrong with each of the others, by step.
        """
        unusable = {}
        is_stale = False
        for step in processes.run_on_primary(self._list_unmarked):
            if self._directories.remove_unfinished(step):
                continue
            integrity = self.integrity(step)
            if integrity.verdict == 'intact' and self._directories.adopt(step):
                is_stale = True
            elif integrity.verdict != 'removed':
                reason = integrity.why or 'its marker cannot be written'
                unusable[step] = f'{self._directories.path(step)} is not complete: {reason}'
        if is_stale:
            self._orbax.reload()
        return unusable

    def _list_unmarked(self) -> list[int]:
        """Return steps in a store that have no marker there."""
        if is_local(self.directory):
            return []
        complete = self.steps()
        return [step for step in manifest.list_steps(self.directory) if step not in complete]

    # Writing.

    def save(self, step: int, state: TrainState, position: Position, metrics: dict[str, float] | None = None) -> None:
        """Start writing a step; return once the arrays are copied from the devices. A step that is there stays.

        Args:
          step: Its number.
          state: What to save.
          position: Where the data stream stands.
          metrics: Of validation and scores of the step, where it has some; all processes have the same.
        """
        with explain_disk_errors(self.directory):
            self._save(step, state, position, metrics or {})

    def _save(self, step: int, state: TrainState, position: Position, metrics: dict[str, float]) -> None:
        # One save at a time; an error of the last one comes out here at the latest.
        self._finish_manifest()
        if processes.run_on_primary(lambda: step in self.steps()):
            return

        # Orbax asks the best step's policy while it saves.
        self._best.note_save(step, metrics)
        items = {'params': state.params, 'ema': state.ema, 'opt_state': state.opt_state, 'position': position}
        metadata = make_metadata(metrics)
        # Forced: the loop decides when a step is saved, and Orbax's own rule is not asked.
        saving = self._orbax.save_checkpointables_async(step, items, force=True, custom_metadata=metadata)
        # Another step of that number may have been damaged, and set aside.
        self._directories.forget(step)
        self._manifest = self._manifest_thread.submit(self._write_manifest, step, saving)

        if self._directories.is_staged:
            self._finish_manifest()
            self._upload(step)

    def _write_manifest(self, step: int, saving: Any) -> None:
        """Hash the files of a step once Orbax has written them."""
        saving.result()
        manifest.write(self._directories.local / str(step), jax.process_index(), jax.process_count())

    def _finish_manifest(self) -> None:
        """Wait until the last save is written and has its manifest."""
        # Forgotten before it is waited for: an error of it is raised once.
        last, self._manifest = self._manifest, None
        if last:
            last.result()

    def _upload(self, step: int) -> None:
        """Copy a step to a staged store, and remove there what need not stay: Orbax knows its own copy alone."""
        self._directories.upload(step)
        steps = self.steps()
        for old in steps:
            if not (self.config.keeps(old, steps) or self._best.is_step(old)):
                self._directories.remove(old)

    def wait(self) -> None:
        """Block until nothing is being written; an error of an earlier save is raised here, or in the next one."""
        with explain_disk_errors(self.directory):
            self._finish_manifest()
            self._orbax.wait()

    def close(self) -> None:
        """Wait for what is being written, and clean up."""
        with explain_disk_errors(self.directory):
            try:
                self._finish_manifest()
            finally:
                self._manifest_thread.shutdown()
                self._orbax.close()
                self._directories.close()

    # Reading.

    def restore(self, abstract: TrainState, step: StepChoice = None) -> tuple[TrainState, Position]:
        """Return state and data position of a step, onto the shardings of `abstract`.

        Raises:
          UserError: There is no such step, or it is damaged.
        """
        step = self._prepare(step)
        wanted = {'params': abstract.params, 'ema': abstract.ema, 'opt_state': abstract.opt_state, 'position': None}
        items = self._load(step, wanted)
        # A step is the name of its directory, and no array in it.
        number = jax.device_put(np.int32(step), abstract.step.sharding)
        state = TrainState(number, items['params'], items['ema'], items['opt_state'])
        return state, self._validate_position(step, items)

    def restore_params(self, abstract: TrainState, step: int) -> Params:
        """Return the parameters alone."""
        params: Params = self._load(self._prepare(step), {'params': abstract.params})['params']
        return params

    def restore_one(
        self, abstract: TrainState, step: StepChoice = None, average: str | None = None
    ) -> tuple[Params, int]:
        """Return one tree like params, and its step; nothing else is read.

        Args:
          abstract: The state's shapes and shardings.
          step: Which checkpoint.
          average: Name of the average to return; None for the parameters themselves.

        Raises:
          UserError: There is no such step, or it is damaged.
        """
        step = self._prepare(step)
        if average is None or step == 0:  # as in restore_ema
            return self.restore_params(abstract, step), step
        # Partial: the checkpoint may hold other averages.
        items = self._load(step, {'ema': {average: abstract.ema[average]}}, partial=True)
        return items['ema'][average], step

    def restore_ema(self, abstract: TrainState, step: StepChoice = None) -> tuple[Averages, int]:
        """Return the averages alone, by decay, and their step; neither params nor optimizer are read."""
        step = self._prepare(step)
        # Step 0 is initial weights: every average is of them alone, whatever the decays.
        if step == 0:
            return dict.fromkeys(abstract.ema, self.restore_params(abstract, step)), step
        return self._load(step, {'ema': abstract.ema})['ema'], step

    def position(self, step: int | None = None) -> Position:
        """Return the data position of a step alone."""
        step = self._prepare(step)
        return self._validate_position(step, self._load(step, {'position': None}))

    def _validate_position(self, step: int, items: Items) -> Position:
        called = f'{self._directories.path(step)}: its position'
        return processes.raise_on_all(lambda: validate_position(items['position'], called))

    def _prepare(self, choice: StepChoice) -> int:
        """Return the step to read, known to be there and intact; bring it from a store that Orbax does not know."""
        step = self._best.step() if choice == 'best' else choice
        if step is None:
            step = self.latest()
        if step is None:
            raise UserError(f'{self.directory}: no checkpoint yet')

        steps = processes.run_on_primary(self.steps)
        if step not in steps:
            missing = f'no checkpoint {step}; found {steps or "none"}'
            raise UserError(f'{self.directory}: {self._unusable.get(step, missing)}')
        integrity = self.integrity(step)
        if integrity.verdict == 'damaged':
            raise UserError(f'{self._directories.path(step)} is {integrity}; choose another step of {steps}')
        if integrity.verdict == 'removed':
            raise UserError(f'{self._directories.path(step)} was removed just now; ask for another step')

        if self._directories.download(step):
            self._orbax.reload()
        return step

    def _load(self, step: int, wanted: Items, partial: bool = False) -> Items:
        """Return the items of a step.

        Args:
          step: Prepared.
          wanted: Their trees of shapes and shardings; None for what is no tree of arrays.
          partial: Whether some arrays of each are enough.
        """
        integrity = self.integrity(step)
        # Orbax takes this option from a context alone.
        context = ocp.Context()
        context.pytree.loading.partial_load = partial

        def read() -> Items:
            try:
                with context:
                    items: Items = self._orbax.load_checkpointables(step, wanted)
                check_arrays(items)
                return items
            except Exception as error:
                path = self._directories.path(step)
                misfit = self._describe_misfit(step, wanted, partial)
                advice = 'if it is damaged, rename it, and the one before it is taken'
                if misfit and integrity.verdict == 'intact':
                    raise MisfitError(f'{path}: {misfit}') from None
                if misfit:
                    raise MisfitError(f'{path}: it is {integrity}; {misfit}; {advice}') from None
                if not is_unreadable(error):
                    raise
                reason = first_line(root_cause(error))
                raise UserError(f'{path} is {integrity}; and it cannot be read ({reason}): {advice}') from error

        return processes.raise_on_all(read)

    def _describe_misfit(self, step: int, wanted: Items, partial: bool) -> str:
        """See failures.describe_misfit; '' too where a step is too damaged to have shapes: the caller knows more."""
        try:
            present = self._orbax.checkpointables_metadata(step).metadata
        except Exception:
            return ''
        return describe_misfit(wanted, present, partial)
