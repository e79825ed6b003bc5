"""A user's mistakes that only show where groups of a config meet; each is a UserError that names its keys.

`run` is a run.Run.
"""

import itertools

import jax
from flax import nnx

from vdm_jax.data import scalars
from vdm_jax.data.order import order_of
from vdm_jax.errors import UserError
from vdm_jax.given import given_frames
from vdm_jax.models.layouts import LAYOUTS
from vdm_jax.nn.arrange import Grid
from vdm_jax.nn.attend import refusal
from vdm_jax.parallel.rules import nearest, split_on
from vdm_jax.train.best import check_metric, parse_rule


def check(run) -> None:
    """All of the below, and whether labels, scalars, shapes and mesh go together; computes nothing."""
    check_mesh(run)
    check_attention(run)
    if run.model.autoencodes and run.latent_shape != run.source.shape:
        raise UserError('config.codec: an autoencoder learns from pixels; leave the codec out')
    if 0 < run.model.classes < run.source.num_classes:
        raise UserError(
            f'config.model.classes={run.model.classes}: the source has labels 0 to {run.source.num_classes - 1}'
        )
    if run.has_images and run.model.classes not in (0, run.source.num_classes):
        raise UserError(
            f'config.model.classes={run.model.classes}: clips and images have {run.source.num_classes} together, and '
            'what has no label is told the one after them; leave it out'
        )
    scalars.check(run.source, run.model.scalars)
    check_beside(run)
    check_objective(run)
    check_text(run)
    check_sampler(run)
    check_latents(run)
    len(run.source), run.clips, run.abstract, run.frozen, run.training_source  # all raise UserErrors
    check_metric(
        parse_rule(run.experiment.checkpoint.best), run.training_loss.parts, run.experiment.train.validate_every
    )
    if run.experiment.train.validate_every:
        order_of(run.held_out, run.experiment.train.batch_size)
    if run.experiment.train.sample_every:
        check_pictures(run)
        if given_frames(run) or run.model.text_width:
            run.shown  # noqa: B018, that there are such clips


def check_mesh(run) -> None:
    """Whether the mesh splits the network where it can be split.

    Raises:
      UserError: frames, places or heads do not divide; with the nearest mesh that works.
    """
    model, mesh = run.model, run.mesh
    if model.layout is None:
        for axis in ('sequence', 'tensor'):
            if mesh.shape[axis] > 1:
                raise UserError(f'config.mesh.{axis}={mesh.shape[axis]}: this network is not split on it; set 1')
        return
    for shape in run.latent_shapes:
        _check_split(run, *model.grid_of(shape))


def _check_split(run, frames: int, rows: int, columns: int) -> None:
    """The same for clips of so many patches."""
    model, mesh, heads = run.model, run.mesh, run.model.sizes.heads
    units = [each for attentions in LAYOUTS[model.layout].unit(model) for shared in attentions for each in shared]
    heads //= max(len(shared) for attentions in LAYOUTS[model.layout].unit(model) for shared in attentions)
    moves = any(each.kind == 'time' for each in units)
    by_heads = [each for each in units if ('sequence', 'tensor') in each.axes_for(model.attention)]
    wanted = {
        'tensor': {'heads': heads},
        'sequence': {'frames of patches': frames}
        | ({'frames of patches with the images behind': frames + run.source.count} if run.has_images else {})
        | ({'patches of a frame': rows * columns} if moves else {})
        | ({'heads on each part of config.mesh.tensor': heads // mesh.shape['tensor'] or 1} if by_heads else {}),
    }
    for axis, sizes in wanted.items():
        for what, size in sizes.items():
            if size % mesh.shape[axis]:
                shapes = jax.eval_shape(lambda: nnx.to_pure_dict(nnx.state(run.make_model(nnx.Rngs(0)))))
                known = [*sizes.values(), *split_on(axis, shapes)]
                if axis == 'tensor' and by_heads and heads % mesh.shape['sequence'] == 0:
                    known.append(heads // mesh.shape['sequence'])
                hint = nearest(mesh, axis, known)
                ring = (
                    '; or config.model.attention.sequence=ring' if 'config' in what and model.layout == 'full' else ''
                )
                raise UserError(
                    f'config.mesh.{axis}={mesh.shape[axis]} does not divide the {size} {what}; {hint}{ring}'
                )


def check_attention(run) -> None:
    """Whether the attention backends that are asked for by name can compute what the network asks of them.

    Raises:
      UserError: one cannot, with the reason.
    """
    if run.model.layout is None:
        return
    model, images = run.model, run.source.count if run.has_images else 0
    grids = [Grid(*model.grid_of(shape), images) for shape in run.latent_shapes]
    parts = {each for attentions in LAYOUTS[model.layout].unit(model) for each in sum(attentions, ())}
    for grid, each in itertools.product(grids, parts):
        backend, size = getattr(model.attention, each.kind), model.sizes
        shape = size.heads, each.length(grid), size.width // size.heads
        with jax.sharding.use_abstract_mesh(run.mesh.abstract_mesh):
            reason = refusal(backend, *[jax.ShapeDtypeStruct(shape, model.dtype)] * 2, each.mask(grid))
        if backend != 'auto' and reason:
            raise UserError(f'config.model.attention.{each.kind}={backend}: {backend} {reason}; choose auto or xla')


def check_sampler(run) -> None:
    """Whether the sampler suits process and network.

    Raises:
      UserError: more steps than the process has, guidance without a network that knows what "no label" means, or a
        learned variance that was not learned.
    """
    if run.model.autoencodes:
        return
    check_positions(run)
    e, diffusion = run.experiment, run.experiment.diffusion
    try:
        e.sampler.spacing.times(diffusion.process, e.sampler.steps)
    except ValueError as error:
        raise UserError(str(error)) from None
    conditioned = run.model.classes or run.model.text_width
    if e.guidance.scale != 1 and not (conditioned and diffusion.condition_dropout):
        raise UserError(
            f'config.guidance.scale={e.guidance.scale}: the network never learned "no label", as there are '
            f'{run.model.classes} classes and config.diffusion.condition_dropout={diffusion.condition_dropout}; '
            'set 1'
        )
    if e.guidance.negative is not None and e.guidance.scale == 1:
        raise UserError(
            f'config.guidance.negative={e.guidance.negative}: it counts where config.guidance.scale is not 1'
        )
    if e.guidance.negative is not None and not 0 <= e.guidance.negative <= run.model.classes:
        raise UserError(f'config.guidance.negative={e.guidance.negative}: want a class of 0 to {run.model.classes}')
    if (e.guidance.channels or 1) > run.latent_shape[-1]:
        raise UserError(
            f'config.guidance.channels={e.guidance.channels}: what is sampled has {run.latent_shape[-1]} channels; set '
            'as many at most, or none for all'
        )
    if getattr(e.sampler, 'variance', None) == 'learned' and diffusion.variance != 'learned_range':
        raise UserError(
            'config.sampler.variance=learned: the network learned none; train with '
            'config.diffusion.variance=learned_range, or choose small or large'
        )


def check_positions(run) -> None:
    """Whether the network knows the places of all patches of the clips it is asked for.

    Raises:
      UserError: it learned the positions of smaller clips.
    """
    model = run.model
    if 'learned' not in model.position:
        return
    for asked in map(model.grid_of, run.latent_shapes):
        if any(a > known for a, known in zip(asked, model.grid, strict=True)):
            raise UserError(
                f'config.model.position={model.position}: positions of {model.grid} frames, rows and columns of '
                f'patches are learned, and {asked} are asked for; set config.data.frames and pixels no larger than in '
                'training, or name the largest bucket first'
            )


def check_pictures(run) -> None:
    """Whether the clips are pictures, which can be written as videos.

    Raises:
      UserError: they are latents that no codec decodes.
    """
    channels = run.source.shape[-1]
    if channels not in (1, 3):
        raise UserError(
            f'config.data: its clips have {channels} channels: latents, and no config.codec makes videos of them; '
            'train on videos, with a codec, or give one to convert: --config.codec.name=sd_vae --config.codec.path=RUN '
            '--config.data.pixels=256 --config.data.channels=3'
        )


def check_beside(run) -> None:
    """Whether images can stand beside the clips.

    Raises:
      UserError: the clips have text or are latents, as the images do not and are not.
    """
    if not hasattr(run.source, 'images'):
        return
    if getattr(run.source.clips, 'text_cache', None):
        raise UserError(
            'config.data.clips: they have text, and images beside them have none; take a mixture of both sets in '
            'source=bucketed, with a bucket of one frame'
        )
    if getattr(run.source.clips, 'latents', ('',))[0]:
        raise UserError('config.data.clips: they are latents, and images beside them are not; name the videos')


def check_text(run) -> None:
    """Whether the network looks at the text that the clips have, and prompts are encoded as they were.

    Raises:
      UserError: one has no text, or of another width, or of another encoder than config.text.
    """
    width, encoder, cache = run.model.text_width, run.experiment.text, getattr(run.source, 'text_cache', None)
    if width and not cache:
        raise UserError(
            f'config.model.text_width={width}: the clips have no text; set config.data.text to embeddings of the '
            'captions of config.data.source=records (python -m data_pipelines cache-text), or text_width=none'
        )
    if not cache:
        return
    if cache.shape[1] != width:
        raise UserError(f'config.model.text_width={width}: the embeddings of {cache.path} have width {cache.shape[1]}')
    if encoder.width and encoder.fingerprint != cache.fingerprint:
        raise UserError(
            f'config.text: prompts would be encoded by {encoder} ({encoder.fingerprint}), and the captions in '
            f'config.data.text={cache.path} were by {cache.about["encoder"]} ({cache.fingerprint}); set the same'
        )


def check_latents(run) -> None:
    """Whether latents that the source holds are those of the run's codec, of clips as the run wants them.

    Raises:
      UserError: there is no codec, or one with other weights, or they are of other shapes.
    """
    made_by, shapes = getattr(run.source, 'latents', ('', {}))
    if not made_by:
        return
    if run.experiment.latents:
        raise UserError(f'config.latents={run.experiment.latents}: the records are latents already; leave it out')
    if made_by != run.codec_fingerprint:
        raise UserError(
            f'config.codec: its weights are {run.codec_fingerprint or "none"}, and the latents of config.data were '
            f'made with {made_by}; name that codec in config.codec.path, or make them anew'
        )
    wanted = {
        shape[:3]: (*latents[:3], 2 * latents[3]) for shape, latents in zip(run.shapes, run.latent_shapes, strict=True)
    }
    for clip, latents in shapes.items():
        if latents != wanted.get(clip):
            raise UserError(
                f'config.data: it holds latents {latents} (moments) of clips {clip} (frames, height, width), and this '
                f'run wants {" or ".join(f"{ours} of {theirs}" for theirs, ours in wanted.items())}'
            )


def check_objective(run) -> None:
    """Whether what is learned suits network and data.

    Raises:
      UserError: a part of config.diffusion asks for what config.model or the clips do not have.
    """
    diffusion, model = run.experiment.diffusion, run.model
    if model.autoencodes:
        return
    pairs = (
        ('variance', diffusion.variance == 'learned_range', 'learn_variance', model.learn_variance),
        ('self_conditioning', diffusion.self_conditioning > 0, 'self_condition', model.self_condition),
    )
    for ours, asked, theirs, there in pairs:
        if asked and not there:
            value = getattr(diffusion, ours)
            raise UserError(f'config.diffusion.{ours}={value} needs a network with config.model.{theirs}=true')
    if model.self_condition and not diffusion.self_conditioning:
        raise UserError(
            'config.model.self_condition=true: set config.diffusion.self_conditioning, the share it learns from'
        )
    if model.given_at_zero:
        clean, noisy = (float(diffusion.process.model_time(t)) for t in (0.0, 1e-3))
        if clean != 0 or noisy == 0:
            raise UserError(
                f'config.diffusion.process: the network takes frames of time 0 for given ones, and here clean frames '
                f'are at {clean:g} and almost clean ones at {noisy:g}; take rectified_flow with numbering=thousand'
            )
    if run.has_images and model.time_patch > 1:
        raise UserError(f'config.model.time_patch={model.time_patch}: images are single frames; set it to 1')
    if diffusion.per_frame and model.time_patch > 1:
        raise UserError(
            f'config.diffusion.per_frame=true: frames in one patch share their time; set config.model.time_patch='
            f'{model.time_patch} to 1'
        )
    frames = min(shape[0] for shape in run.latent_shapes)
    if diffusion.context >= frames:
        raise UserError(f'config.diffusion.context={diffusion.context}: the clips have {frames} frames in all')
    if diffusion.context % model.time_patch:
        raise UserError(
            f'config.diffusion.context={diffusion.context}: want a multiple of config.model.time_patch='
            f'{model.time_patch}, as frames in one patch share their time'
        )
