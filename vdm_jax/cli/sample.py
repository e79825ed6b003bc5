"""The command sample."""

import argparse
import dataclasses
import functools
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from vdm_jax.cli import exit_codes
from vdm_jax.cli.options import OPTIONS, destination_of
from vdm_jax.cli.restore import LoadedWeights, Origin, list_origins, restore, use_mesh
from vdm_jax.errors import Failure, NotFinite, UserError

if TYPE_CHECKING:
    from vdm_jax.cli.sample_files import Sample, SampleFiles
    from vdm_jax.experiment.run import Run
    from vdm_jax.sampling.generate import VideoBatch

USUAL_NUM = 16  # videos


def sample(args: argparse.Namespace, assignments: list[str]) -> int:
    """Sample videos from averaged weights of a run, from a file of weights, or from both side by side."""
    from vdm_jax.cli import prompts, sample_files
    from vdm_jax.cli.conditions import make_stem
    from vdm_jax.parallel import processes

    formats = sample_files.read_formats(args.format)
    args.prompt = processes.raise_on_all(lambda: prompts.read_prompts(args) or None)
    args.num = choose_num(args, formats)
    origins = list_origins(args)
    restored = [restore(origin, args, assignments, check_codec=True) for origin in origins]
    runs, _, abouts = zip(*restored, strict=True)
    shapes = {run.data.source.shape for run in runs}
    if len(shapes) > 1:
        raise UserError(f'--workdir and --weights make clips of different shapes, {shapes}: sample them one by one')

    defaults = {destination_of(option): spec.get('default') for option, spec in OPTIONS.items()} | {'num': USUAL_NUM}
    stem = make_stem(args, assignments, [about['step'] for about in abouts], defaults)
    titles = [title_of(*each) for each in zip(origins, abouts, strict=True)]
    folders = [origin.kind for origin in origins]
    side_by_side = {'titles': titles, 'folders': folders} if len(origins) > 1 else {}

    # One set of weights after the other; files are written while the next videos are made.
    failures = []
    with sample_files.SampleFiles(args.out, stem, formats, choose_fps(args, runs[0]), **side_by_side) as files:
        for set_number, weights in enumerate(restored):
            failures.append(draw_samples(args, files, set_number, titles[set_number], weights))
        lines = processes.run_on_primary(files.close)
    print('\n'.join(f'  {line}' for line in lines))

    # Videos that are finite are written even where others are not.
    if failures := [failure for failure in failures if failure is not None]:
        raise failures[0] if len(failures) == 1 else Failure('; '.join(map(str, failures)))
    return exit_codes.DONE


def choose_num(args: argparse.Namespace, formats: Sequence[str]) -> int:
    """Return how many videos: --num, else as many of each prompt as VBench wants where they are for it, or USUAL_NUM.

    Raises:
      UserError: They are for VBench, and prompts do not tell them apart.
    """
    from vdm_jax.cli import vbench_files

    usual = USUAL_NUM
    if vbench_files.FOLDER in formats:
        vbench_files.check_prompts(args.prompt or ())
        usual = vbench_files.PER_PROMPT * len(args.prompt)
    return usual if args.num is None else int(args.num)


def title_of(origin: Origin, about: dict[str, Any]) -> str:
    """Return what the videos of these weights are called: 'runs/demo, step 4000'."""
    return f'{origin.path}, step {about["step"]}'


def choose_fps(args: argparse.Namespace, run: 'Run') -> float:
    """Return frames a second of the files: --fps, the fps of --scalars, that of the clips, or media.FPS.

    Raises:
      UserError: --fps is out of range.
    """
    from vdm_jax import media
    from vdm_jax.cli.conditions import read_scalars
    from vdm_jax.cli.sample_files import LOWEST_FPS, MOST_FPS, check_fps

    if args.fps is not None:
        return check_fps(args.fps, '--fps')
    for fps in (read_scalars(args.scalars).get('fps'), run.data.source.clip_fps):
        # As a condition any number will do, 0 too; no file plays at that rate.
        if fps is not None and LOWEST_FPS <= fps <= MOST_FPS:
            return fps
    return media.FPS


def choose_labels(args: argparse.Namespace, classes: int) -> np.ndarray:
    """Return the label of every video, (num,): that of --label, else all in turn; 0 where a network has no classes.

    Raises:
      UserError: --num or --label is out of range.
    """
    if args.num < 1:
        raise UserError(f'--num={args.num}: want 1 or more')
    if args.label is not None and not 0 <= args.label < classes:
        want = f'want a label from 0 to below {classes}' if classes else 'the network has no classes; leave it out'
        raise UserError(f'--label={args.label}: {want}')
    if args.label is None:
        return np.arange(args.num) % max(classes, 1)
    return np.full(args.num, args.label)


def draw_samples(
    args: argparse.Namespace, files: 'SampleFiles', set_number: int, title: str, weights: LoadedWeights
) -> NotFinite | None:
    """Sample videos from one set of weights and have them written; return which of them are not finite, if any.

    Args:
      args: Options of the command.
      files: Writes the videos.
      set_number: Of these weights among those of the command, from 0.
      title: What its videos are called.
      weights: With their run.
    """
    from vdm_jax.cli.conditions import Conditions, scalar_conditions, text_conditions
    from vdm_jax.experiment.validate import check_pictures
    from vdm_jax.parallel import processes
    from vdm_jax.sampling import conditioning
    from vdm_jax.sampling.generate import generate_batches

    run, params, about = weights
    check_pictures(run.data)
    labels = choose_labels(args, run.model_config.classes or 0)
    text_of = text_conditions(args.prompt, args.negative, run, about)

    def option_conditions(rows: np.ndarray) -> Conditions:
        return scalar_conditions(args.scalars, run, len(rows)) | text_of(rows)

    conditions_of = conditioning.conditions_by_rows(run.data, run.network, labels, option_conditions)
    # A label that says nothing of the video stands in no strip and no index.
    has_labels = run.model_config.classes and (
        not run.data.has_images or conditioning.has_classes(run.data, run.network)
    )

    began = time.monotonic()
    not_finite: list[int] = []
    with use_mesh(run):
        batch_size = run.experiment.evaluate.batch_size
        for batch in generate_batches(run.generate, params, conditions_of, args.num, args.seed, batch_size):
            not_finite += batch.numbers[~batch.finite].tolist()
            samples = make_samples(args, batch, labels if has_labels else None)
            processes.run_on_primary(functools.partial(files.put, samples, set_number))

    stored = f' ({about["dtype"]})' if 'dtype' in about else ''
    print(f'{args.num} videos of {title}{stored}, in {time.monotonic() - began:.1f} s')
    if run.model_config.text_width and not args.prompt:
        print('  conditioned on captions of the clips; --prompt=TEXT sets others')
    return NotFinite(not_finite, args.num, title) if not_finite else None


def make_samples(args: argparse.Namespace, batch: 'VideoBatch', labels: np.ndarray | None) -> list['Sample']:
    """Return the videos of a batch that are finite, each with its conditions."""
    from vdm_jax.cli.sample_files import Sample

    samples = []
    for number, video, is_finite in zip(batch.numbers.tolist(), batch.videos, batch.finite, strict=True):
        if is_finite:
            label = None if labels is None else int(labels[number])
            sample = Sample(number, video, label, seed=args.seed)
            if args.prompt:
                index, turn = divmod(number, len(args.prompt))
                sample = dataclasses.replace(sample, prompt=args.prompt[turn], index=index)
            samples.append(sample)
    return samples
