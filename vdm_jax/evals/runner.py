"""Run a protocol: ask for samples, score them, write the score with its protocol beside it."""

import dataclasses
import hashlib
import json
import re
from collections.abc import Callable, Collection
from typing import Any

import numpy as np
from etils import epath

from vdm_jax import files
from vdm_jax.data.source import Reader
from vdm_jax.errors import UserError
from vdm_jax.evals.features.opened import OpenWeights, no_weights
from vdm_jax.evals.judge import Draw
from vdm_jax.evals.partial import DIGEST, MemoryRows, PartialRows
from vdm_jax.evals.protocol import EvaluateConfig, Protocol
from vdm_jax.evals.question import CIRCUMSTANCES, CONFIGS, RESULTS, leave_out, select_settings
from vdm_jax.evals.rows import format_rows
from vdm_jax.evals.score import Score
from vdm_jax.parallel import processes

AfterBatch = Callable[[int, int], None]


def do_nothing(done: int, count: int) -> None:
    """Do nothing after a batch."""
    del done, count


def evaluate(
    protocol: Protocol,
    draw: Draw,
    reader: Reader,
    held_out: Reader,
    config: EvaluateConfig,
    about: dict[str, Any],
    partial: epath.PathLike | None = None,
    open_weights: OpenWeights = no_weights,
    identity: str = '',
    after_batch: AfterBatch = do_nothing,
) -> Score:
    """Score what `draw` makes. Where several processes run all have to call it; the primary one judges.

    Args:
      protocol: What is measured, and of which samples.
      draw: Makes the videos.
      reader: The data that the network was trained on.
      held_out: Its test split, the same reader where it has none.
      config: How many samples, against how many clips.
      about: What else belongs to the score, JSON values by name: protocol, step, sampler, …
      partial: The directory in which what was measured so far lies, from which an interrupted evaluation goes on; None
        for nowhere.
      open_weights: Opens networks that judge.
      identity: Of videos that no run makes: others under the same path are another evaluation.
      after_batch: Called, on all processes, when a batch is measured, with how many videos are and how many there are
        to be. What it raises ends the evaluation, which then can go on from `partial`.

    Returns:
      The score, JSON values only.

    Raises:
      UserError: What lies in `partial` is damaged.
    """
    # Made on every process, as every one takes part in the sampling; only the judging is the primary's.
    judge = protocol.open_judge(reader, held_out, config, open_weights)
    store: PartialRows | MemoryRows = MemoryRows()

    def open_store() -> int:
        nonlocal store
        if partial:
            # A file of weights may have become another one since.
            measured_by = [identity, *judge.weights_sha256]
            store = PartialRows(_directory_of(partial, about, config, measured_by))
        return store.count

    number = processes.run_on_primary(open_store)
    try:
        if number < len(judge.labels):
            for videos in draw(judge.labels, judge.conditions_of, number):
                rows = judge.measure(np.arange(number, number + len(videos)), videos)
                # The others would keep what they never look at.
                if processes.is_primary():
                    store.add(rows | {DIGEST: digest_videos(videos)})
                number += len(videos)
                after_batch(number, len(judge.labels))
    except BaseException:
        store.flush()
        raise

    def decide() -> dict[str, Any]:
        rows = store.all_rows()
        digests = rows.pop(DIGEST)
        samples = {
            'samples': len(digests),
            'seed': config.seed,
            'clip': list(reader.shape),
            'samples_sha256': hashlib.sha256(digests.tobytes()).hexdigest(),
        }
        score = judge.score(rows)
        store.remove()
        return dataclasses.replace(score, settings=score.settings | about | samples).to_json()

    return Score.from_json(processes.run_on_primary(decide))


def _directory_of(
    partial: epath.PathLike, about: dict[str, Any], config: EvaluateConfig, measured_by: list[str]
) -> epath.Path:
    """Return the directory of what this evaluation has measured so far, by all that makes its rows what they are."""
    # Of where it runs only what moves the last bits of a sample: the same command may stand in another line.
    environment = about.get('environment', {})
    machine = {name: environment.get(name) for name in ('packages', 'device_kind')}
    question = {name: value for name, value in about.items() if name not in (*CONFIGS, 'environment')} | machine
    settings = select_settings(about.get('config', {}), ())
    # How many are made at once changes none of them.
    evaluate_settings = leave_out(dataclasses.asdict(config), ('batch_size',))
    digits = files.digest_json(
        {'about': question, 'settings': settings, 'evaluate': evaluate_settings, 'measured_by': measured_by}
    )[:16]
    return epath.Path(partial) / f'.partial_{digits}'


def digest_videos(videos: np.ndarray) -> np.ndarray:
    """Return the sha256 of the pixels of each video, uint8 (n, 32)."""
    digests = [hashlib.sha256(np.ascontiguousarray(video).tobytes()).digest() for video in videos]
    return np.frombuffer(b''.join(digests), np.uint8).reshape(len(videos), 32)


def write(score: Score, directory: str | epath.PathLike, movable: Collection[str]) -> epath.Path:
    """Write the score, and its own sha256, as NAME_stepN_SETTINGS.json into a directory; return the file.

    The score of videos that no run has made has no step in its name.

    SETTINGS are six digits of the sha256 of all that was set (weights, config, seed, …): the same question asked again
    overwrites its answer, another one does not.

    Args:
      score: What is written.
      directory: Where.
      movable: Keys of config.data that change no clip, Source.movable_keys of the source.

    Raises:
      UserError: The score's own name or step would name a file elsewhere.
    """
    values = score.to_json()
    # Results are no part of the question: a score that is made again replaces itself, whatever came out.
    question = {name: value for name, value in values.items() if name not in (*RESULTS, *CIRCUMSTANCES, *CONFIGS)}
    question['settings'] = select_settings(score.settings.get('config', {}), movable)
    digits = files.digest_json(question)[:6]

    name = score.name
    step = score.settings.get('step', 0)
    if type(step) is not int or step < 0 or not re.fullmatch(r'\w+', str(name)):
        raise UserError(f'a score of name {name!r:.80} and step {step!r:.80} names no file: want a word and a number')

    of_step = f'_step{step}' if 'step' in score.settings else ''
    path = epath.Path(directory) / f'{name}{of_step}_{digits}.json'
    files.write_atomically(path, json.dumps(files.seal(values), indent=2) + '\n')
    return path


def read(path: str | epath.PathLike) -> Score:
    """Read a score that `write` wrote, of this version or an earlier one.

    Raises:
      UserError: There is no such file, or it is another one, or it is damaged.
    """
    return Score.from_json(files.unseal(files.read_json(path), str(path)), str(path))


def format_table(score: Score) -> str:
    """Return the score as text: a row for each set of clips, a column for each figure, and the verdicts."""
    about = score.settings
    step = [f'step {about["step"]}'] if 'step' in about else []
    sampler = [about['sampler']] if 'sampler' in about else []
    # Of anybody's videos a protocol may want the first ones alone.
    has_more = about.get('fake_clips', about['samples']) != about['samples']
    samples = f'{about["samples"]} of {about["fake_clips"]} samples' if has_more else f'{about["samples"]} samples'
    seed = [f'seed {about["seed"]}'] if 'seed' in about else []
    head = ', '.join([*step, samples, *sampler, *seed])
    verdict = '  '.join(f'{name} {"ok" if good else "MISSED"}' for name, good in score.verdict.items())
    below = [f'caution: {caution}' for caution in about.get('cautions', ())] + ([verdict] if verdict else [])
    return '\n'.join([f'{score.name}: {head}', '', format_rows(score.figures), '', *below])
