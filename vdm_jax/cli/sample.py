"""The command sample."""

import time

from vdm_jax.cli.options import OPTIONS
from vdm_jax.errors import UserError
from vdm_jax.origin import jax_mesh, origins, restored


def sample(args, assignments):
    """sample videos from a run's averaged weights, or from a file of weights, or from both side by side"""
    from vdm_jax import media
    from vdm_jax.asking import digits
    from vdm_jax.parallel import processes

    found = [(origin, *restored(origin, args, assignments)) for origin in origins(args)]
    shapes = {run.source.shape for _, run, *_ in found}
    if len(shapes) > 1:
        raise UserError(f'--workdir and --weights make clips of different shapes, {shapes}: sample them one by one')
    drawn = [draw(args, *each) for each in found]
    titles = [str(where) for where, *_ in drawn] if len(drawn) > 1 else None
    names = drawn[0][3]
    said = {name: getattr(args, name) for name in ('steps', 'guidance', 'label', 'scalars', 'size', 'seed', 'ema')}
    asked = [f'{name}{value}' for name, value in said.items() if value != OPTIONS[f'--{name}'].get('default')]
    asked += [f'text{digits(args)}'] if args.prompt or args.negative else []
    stem = '_'.join(['_beside_'.join(f'step_{step:06d}' for _, step, *_ in drawn), *asked])
    clips = [videos for _, _, videos, _ in drawn]
    write = lambda: [str(file) for file in media.write_samples(args.out, stem, clips, names, titles)]
    for file in processes.by_first(write):
        print(f'  {file}')
    return 0


def draw(args, origin: dict, run, params, about: dict):
    """Samples of one origin, (where, step, videos, a name of each or None), with a line printed about them."""
    import numpy as np

    from vdm_jax import given
    from vdm_jax.asking import scalars_of, texts_of
    from vdm_jax.checks import check_pictures
    from vdm_jax.generate import generate_videos

    check_pictures(run)
    classes = run.model.classes
    if args.num < 1 or not (args.label is None or 0 <= args.label < classes):
        raise UserError(f'--num={args.num} --label={args.label}: want 1 or more videos and a label below {classes}')
    labels = np.full(args.num, args.label) if args.label is not None else np.arange(args.num) % max(classes, 1)
    asks = given.asks(run, {'label': labels} | scalars_of(args, run, args.num) | texts_of(args, run, args.num, about))
    began = time.monotonic()
    with jax_mesh(run):
        videos = generate_videos(run.generate, params, asks, args.seed)
    (where,), step = origin.values(), about['step']
    stored = f' ({about["dtype"]})' if 'dtype' in about else ''
    print(f'{len(videos)} videos of {where}{stored}, step {step}, in {time.monotonic() - began:.1f} s')
    if run.model.text_width and not args.prompt:
        print('  told captions of the clips; --prompt=TEXT says what else')
    names = [f'label {label}' for label in asks['label']] if classes else None
    if args.prompt:
        names = [args.prompt[i % len(args.prompt)][:40] for i in range(args.num)]
    return f'{where}, step {step}', step, videos, names
