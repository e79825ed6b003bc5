"""A user's mistakes that only show where groups of a config meet; each is a UserError that names its keys.

`run` is a run.Run.
"""

from vdm_jax.data import scalars
from vdm_jax.errors import UserError
from vdm_jax.sampling.conditioning import given_frames
from vdm_jax.train.best import check_metric, parse_rule


def check(run) -> None:
    """All of the below, and whether labels, scalars, shapes and mesh go together; computes nothing."""
    check_mesh(run)
    if run.model.autoencodes and run.latent_shape != run.source.shape:
        raise UserError('config.codec: an autoencoder learns from pixels; leave the codec out')
    if 0 < run.model.classes < run.reader.num_classes:
        raise UserError(
            f'config.model.classes={run.model.classes}: the source has labels 0 to {run.reader.num_classes - 1}'
        )
    if run.has_images and run.model.classes not in (0, run.reader.num_classes):
        raise UserError(
            f'config.model.classes={run.model.classes}: clips and images have {run.reader.num_classes} together, and '
            'what has no label is told the one after them; leave it out'
        )
    scalars.check(run.reader, run.model.scalars)
    check_beside(run)
    check_objective(run)
    check_text(run)
    check_sampler(run)
    check_latents(run)
    len(run.reader), run.dataset_id, run.abstract, run.frozen, run.training_reader  # all raise UserErrors
    check_metric(
        parse_rule(run.experiment.checkpoint.best), run.training_loss.parts, run.experiment.train.validate_every
    )
    if run.experiment.train.validate_every:
        run.held_out.order(run.experiment.train.batch_size)
    if run.experiment.train.sample_every:
        check_pictures(run)
        if given_frames(run) or run.model.text_width:
            run.context_reader  # noqa: B018, that there are such clips


def check_mesh(run) -> None:
    """Whether the mesh splits the network where it can be split, and its devices can compute it.

    Raises:
      UserError: see the network's config.
    """
    run.model.check_mesh(run.mesh, run.network_inputs)


def check_sampler(run) -> None:
    """Whether the sampler suits process and network.

    Raises:
      UserError: more steps than the process has, guidance without a network that knows what "no label" means, or a
        learned variance that was not learned.
    """
    if run.model.autoencodes:
        return
    run.model.check_shapes(run.latent_shapes)
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
    if not run.source.joins_images:
        return
    clips = run.reader.reference
    if clips.text:
        raise UserError(
            'config.data.clips: they have text, and images beside them have none; take a mixture of both sets in '
            'source=bucketed, with a bucket of one frame'
        )
    if clips.latents:
        raise UserError('config.data.clips: they are latents, and images beside them are not; name the videos')


def check_text(run) -> None:
    """Whether the network looks at the text that the clips have, and prompts are encoded as they were.

    Raises:
      UserError: one has no text, or of another width, or of another encoder than config.text.
    """
    width, encoder, cache = run.model.text_width, run.experiment.text, run.reader.text
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
    latents = run.reader.latents
    if not latents:
        return
    if run.experiment.latents:
        raise UserError(f'config.latents={run.experiment.latents}: the records are latents already; leave it out')
    if latents.codec != run.codec_fingerprint:
        raise UserError(
            f'config.codec: its weights are {run.codec_fingerprint or "none"}, and the latents of config.data were '
            f'made with {latents.codec}; name that codec in config.codec.path, or make them anew'
        )
    wanted = {
        shape[:3]: (*grid, 2 * channels) for shape, (*grid, channels) in zip(run.shapes, run.latent_shapes, strict=True)
    }
    for clip, moments in latents.shapes.items():
        if moments != wanted.get(clip):
            raise UserError(
                f'config.data: it holds latents {moments} (moments) of clips {clip} (frames, height, width), and this '
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
    if model.context_at_time_zero:
        clean, noisy = (float(diffusion.process.model_time(t)) for t in (0.0, 1e-3))
        if clean != 0 or noisy == 0:
            raise UserError(
                f'config.diffusion.process: the network takes frames of time 0 for given ones, and here clean frames '
                f'are at {clean:g} and almost clean ones at {noisy:g}; take rectified_flow with numbering=thousand'
            )
    frames = min(shape[0] for shape in run.latent_shapes)
    if diffusion.context >= frames:
        raise UserError(f'config.diffusion.context={diffusion.context}: the clips have {frames} frames in all')
    model.check_inputs(run.network_inputs)
