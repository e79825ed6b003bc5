"""The command sample."""

import time

from vdm_jax.cli.options import OPTIONS
from vdm_jax.cli.restore import jax_mesh, origins, restored
from vdm_jax.errors import Failure, NotFinite, UserError


def sample(args, assignments):
    """sample videos from a run's averaged weights, or from a file of weights, or from both side by side"""
    from vdm_jax.cli import sample_files
    from vdm_jax.cli.conditions import stem_of
    from vdm_jax.parallel import processes

    formats = sample_files.read_formats(args.format)
    found = [(origin, *restored(origin, args, assignments)) for origin in origins(args)]
    shapes = {run.data.source.shape for _, run, *_ in found}
    if len(shapes) > 1:
        raise UserError(f'--workdir and --weights make clips of different shapes, {shapes}: sample them one by one')
    usual = {name.strip('-'): option.get('default') for name, option in OPTIONS.items()}
    stem = stem_of(args, assignments, [about['step'] for *_, about in found], usual)
    several = {
        'titles': [where(origin, about) for origin, *_, about in found],
        'folders': [next(iter(origin)) for origin, *_ in found],
    }
    several = several if len(found) > 1 else {}
    with sample_files.SampleFiles(args.out, stem, formats, fps_for(args, found[0][1]), **several) as files:
        mistakes = [draw(args, files, which, *each) for which, each in enumerate(found)]
        lines = processes.run_on_primary(files.close)
    print('\n'.join(f'  {line}' for line in lines))
    if mistakes := list(filter(None, mistakes)):
        raise mistakes[0] if len(mistakes) == 1 else Failure('; '.join(map(str, mistakes)))
    return 0


def where(origin: dict, about: dict) -> str:
    """What the videos of these weights are called."""
    (place,) = origin.values()
    return f'{place}, step {about["step"]}'


def fps_for(args, run) -> float:
    """Frames a second of the files: --fps, the fps that the network is told, that of the clips, or 8.

    Raises:
      UserError: --fps is none.
    """
    from vdm_jax import media
    from vdm_jax.cli.conditions import numbers_of
    from vdm_jax.cli.sample_files import FPS, check_fps

    if args.fps is not None:
        return check_fps(args.fps, '--fps')
    known = (numbers_of(args).get('fps'), run.data.source.clip_fps)
    return next((fps for fps in known if fps is not None and FPS[0] <= fps <= FPS[1]), media.FPS)


def draw(args, files, which: int, origin: dict, run, params, about: dict) -> NotFinite | None:
    """Has samples of one origin written, with a line printed about them; returns which of them are not finite."""
    import numpy as np

    from vdm_jax.cli.conditions import scalars_of, texts_by_rows
    from vdm_jax.experiment.validate import check_pictures
    from vdm_jax.parallel import processes
    from vdm_jax.sampling import conditioning
    from vdm_jax.sampling.generate import generate_batches

    check_pictures(run.data)
    classes, count = run.model_config.classes, args.num
    if count < 1 or not (args.label is None or 0 <= args.label < classes):
        raise UserError(f'--num={count} --label={args.label}: want 1 or more videos and a label below {classes}')
    labels = np.full(count, args.label) if args.label is not None else np.arange(count) % max(classes, 1)
    texts = texts_by_rows(args, run, about)

    def others(rows):
        return scalars_of(args, run, len(rows)) | texts(rows)

    asks = conditioning.conditions_by_rows(run.data, run.network, labels, others)
    if not classes or (run.data.has_images and not conditioning.has_classes(run.data, run.network)):
        labels = None
    began, broken, size = time.monotonic(), [], run.experiment.evaluate.batch_size
    with jax_mesh(run):
        for batch in generate_batches(run.generate, params, asks, args.seed, size, count):
            broken += batch.numbers[~batch.finite].tolist()
            samples = samples_of(args, batch, labels)
            processes.run_on_primary(lambda samples=samples: files.put(samples, which))
    stored = f' ({about["dtype"]})' if 'dtype' in about else ''
    print(f'{count} videos of {where(origin, about)}{stored}, in {time.monotonic() - began:.1f} s')
    if run.model_config.text_width and not args.prompt:
        print('  told captions of the clips; --prompt=TEXT says what else')
    return NotFinite(broken, count, where(origin, about)) if broken else None


def samples_of(args, batch, labels) -> list:
    """The videos of a batch that are finite, each with what it was asked by."""
    from vdm_jax.cli.sample_files import Sample

    def prompt_of(number):
        return args.prompt[number % len(args.prompt)] if args.prompt else None

    return [
        Sample(number, video, None if labels is None else int(labels[number]), prompt_of(number), args.seed)
        for number, video, finite in zip(batch.numbers.tolist(), batch.videos, batch.finite, strict=True)
        if finite
    ]
