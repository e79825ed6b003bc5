"""A user's mistakes that only show where groups of a config meet; each is a UserError that names its keys."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import jax.numpy as jnp

from vdm_jax.data import scalars
from vdm_jax.errors import UserError
from vdm_jax.experiment.data_plan import DataPlan
from vdm_jax.experiment.experiment import Experiment
from vdm_jax.experiment.network_plan import NetworkPlan
from vdm_jax.train import best_metric
from vdm_jax.train.evaluation import list_names

if TYPE_CHECKING:
    from vdm_jax.experiment.run import Run


def check(run: Run) -> None:
    """Raise the first of the mistakes below, before anything is compiled or written.

    Raises:
      UserError: A mistake, with its keys and what to do.
    """
    # In the order of what they read: the config and the index of the clips, captions, weights.
    run.network.config.check_mesh(run.mesh, run.network.inputs)
    check_codec(run.data, run.network)
    check_classes(run.data, run.network)
    scalars.check(run.data.reader, run.network.config.scalars)
    check_images(run.data)
    check_objective(run.experiment, run.network)
    check_text(run.experiment, run.data, run.network)
    check_sampler(run.experiment, run.network)
    check_latents(run)

    open_all(run)
    check_cadences(run)


def open_all(run: Run) -> None:
    """Open everything that a run reads, so that what is missing is found before anything is written.

    Raises:
      UserError: Files of the clips, of their latents or of the frozen weights are missing or damaged, or the state
        cannot be split over the mesh.
    """
    # Each is made when it is first used, which is here, for the errors alone.
    _ = len(run.data.reader)
    _ = run.data.dataset_id
    _ = run.programs.abstract_state
    _ = run.frozen
    _ = run.training_reader


def check_cadences(run: Run) -> None:
    """Check that what is due during training can be done: validation, samples, the best checkpoint.

    Raises:
      UserError: There are no held-out clips, no pictures, or no such metric.
    """
    config = run.experiment.train
    # A metric that nobody logs would show only when the first checkpoint is to be compared.
    rule = best_metric.parse_rule(run.experiment.checkpoint.best)
    best_metric.check_metric(rule, run.programs.loss.parts, config.validate_every, config.evaluate_every)
    if config.validate_every:
        run.data.held_out.order(config.batch_size)
    if config.sample_every:
        check_pictures(run.data)
        if run.network.context_frames or run.network.config.text_width:
            _ = run.data.context_reader


def check_evaluation(run: Run, check_score: Callable[[Run], None]) -> None:
    """Check that samples can be scored during training, and that scores have what the best checkpoint is chosen by.

    Args:
      run: The objects of the experiment.
      check_score: Checks that the run's samples can be.

    Raises:
      UserError: They cannot, or have not.
    """
    with _name_cadence(run):
        check_pictures(run.data)
        protocol = run.protocol
    # Before features of real clips are computed, which takes its time.
    best_metric.check_score(best_metric.parse_rule(run.experiment.checkpoint.best), list_names(protocol))
    with _name_cadence(run):
        check_score(run)


@contextlib.contextmanager
def _name_cadence(run: Run) -> Iterator[None]:
    """Name the key that wants scores in the error of what is checked meanwhile."""
    try:
        yield
    except UserError as error:
        raise UserError(f'config.train.evaluate_every={run.experiment.train.evaluate_every}: {error}') from None


def check_codec(data: DataPlan, network: NetworkPlan) -> None:
    """Check that an autoencoder learns from pixels.

    Raises:
      UserError: There is a codec before it.
    """
    if network.config.autoencodes and network.latent_shape != data.source.shape:
        raise UserError('config.codec: an autoencoder learns from pixels; leave the codec out')


def check_classes(data: DataPlan, network: NetworkPlan) -> None:
    """Check that the network knows all labels of the clips.

    Raises:
      UserError: There are more of them, or others beside those of the images.
    """
    classes = network.classes
    labels = data.reader.num_classes
    # A network of 0 classes takes any clips: their labels are left out.
    if 0 < classes < labels:
        raise UserError(f'config.model.classes={classes}: the source has labels 0 to {labels - 1}')
    if data.has_images and classes not in (0, labels):
        raise UserError(
            f'config.model.classes={classes}: clips and images have {labels} together, and what has no label gets '
            'the one after them; leave it out'
        )


def check_sampler(experiment: Experiment, network: NetworkPlan) -> None:
    """Check that the sampler and its guidance suit process and network.

    Raises:
      UserError: More steps than the process has, guidance without a network that knows what "no label" means, or a
        learned variance that was not learned.
    """
    if network.config.autoencodes:
        return
    network.config.check_shapes(network.latent_shapes)

    # Processes and spacings know no config: their ValueErrors name its keys all the same.
    sampler = experiment.sampler
    try:
        sampler.spacing.times(experiment.diffusion.process, sampler.steps)
    except ValueError as error:
        raise UserError(str(error)) from None
    check_guidance(experiment, network)
    if sampler.uses_learned_variance and experiment.diffusion.variance != 'learned_range':
        raise UserError(
            'config.sampler.variance=learned: the network learned none; train with '
            'config.diffusion.variance=learned_range, or choose small or large'
        )


def check_guidance(experiment: Experiment, network: NetworkPlan) -> None:
    """Check that there is something to guide away from.

    Raises:
      UserError: The network never learned "no label", or has no such class or channels.
    """
    guidance = experiment.guidance
    classes = network.classes
    dropout = experiment.diffusion.condition_dropout

    # Without dropout every example had its conditions, and there is no prediction without to guide away from.
    is_conditioned = classes or network.config.text_width
    if guidance.scale != 1 and not (is_conditioned and dropout):
        raise UserError(
            f'config.guidance.scale={guidance.scale}: the network never learned "no label", as there are '
            f'{classes} classes and config.diffusion.condition_dropout={dropout}; set 1'
        )
    if guidance.negative is not None and guidance.scale == 1:
        raise UserError(f'config.guidance.negative={guidance.negative}: it counts where config.guidance.scale is not 1')
    if guidance.negative is not None and not 0 <= guidance.negative <= classes:
        raise UserError(f'config.guidance.negative={guidance.negative}: want a class of 0 to {classes}')

    channels = network.latent_shape[-1]
    if (guidance.channels or 1) > channels:
        raise UserError(
            f'config.guidance.channels={guidance.channels}: what is sampled has {channels} channels; set as many at '
            'most, or none for all'
        )


def check_pictures(data: DataPlan) -> None:
    """Check that the clips are pictures, which can be written as videos.

    Raises:
      UserError: They are latents that no codec decodes.
    """
    channels = data.source.shape[-1]
    if channels not in (1, 3):
        raise UserError(
            f'config.data: its clips have {channels} channels: latents, and no config.codec makes videos of them; '
            'train on videos, with a codec, or give one to convert: --config.codec.name=sd_vae --config.codec.path=RUN '
            '--config.data.pixels=256 --config.data.channels=3'
        )


def check_images(data: DataPlan) -> None:
    """Check that images can stand behind the clips.

    Raises:
      UserError: The clips have text or are latents, as the images do not and are not.
    """
    if not data.source.joins_images:
        return
    # One batch has both, so that what a clip has an image must have too.
    clips = data.reader.reference
    if clips.text:
        raise UserError(
            'config.data.clips: they have text, and images beside them have none; take a mixture of both sets in '
            'source=bucketed, with a bucket of one frame'
        )
    if clips.latents:
        raise UserError('config.data.clips: they are latents, and images beside them are not; name the videos')


def check_text(experiment: Experiment, data: DataPlan, network: NetworkPlan) -> None:
    """Check that the network takes the texts that the clips have, and that prompts are encoded as they were.

    Raises:
      UserError: One has no text, or of another width, or of another encoder than config.text.
    """
    width = network.config.text_width
    texts = data.reader.text
    # Training without text would learn nothing of prompts, and not fail.
    if width and not texts:
        raise UserError(
            f'config.model.text_width={width}: the clips have no text; set config.data.text to embeddings of the '
            'captions of config.data.source=records (python -m data_pipelines cache-text), or text_width=none'
        )
    if not texts:
        return

    encoder = experiment.text
    if texts.shape[1] != width:
        raise UserError(f'config.model.text_width={width}: the embeddings of {texts.path} have width {texts.shape[1]}')
    # Another encoder of the same width has other meanings in its dimensions, which no shape shows.
    if encoder.width and encoder.fingerprint != texts.fingerprint:
        raise UserError(
            f'config.text: prompts would be encoded by {encoder} ({encoder.fingerprint}), and the captions in '
            f'config.data.text={texts.path} were by {texts.about["encoder"]} ({texts.fingerprint}); set the same'
        )


def check_latents(run: Run) -> None:
    """Check that latents that the source holds are those of the run's codec, of clips of its shapes.

    Raises:
      UserError: There is no codec, or one with other weights, or they are of other shapes.
    """
    latents = run.data.reader.latents
    if not latents:
        return
    if run.experiment.latents:
        raise UserError(f'config.latents={run.experiment.latents}: the records are latents already; leave it out')
    if latents.codec != run.codec_fingerprint:
        raise UserError(
            f'config.codec: its weights are {run.codec_fingerprint or "none"}, and the latents of config.data were '
            f'made with {latents.codec}; name that codec in config.codec.path, or make them anew'
        )

    # Moments are means and log variances: twice as many channels as latents.
    expected = {
        shape[:3]: (*grid, 2 * channels)
        for shape, (*grid, channels) in zip(run.data.shapes, run.network.latent_shapes, strict=True)
    }
    for clip, moments in latents.shapes.items():
        if moments != expected.get(clip):
            raise UserError(
                f'config.data: it holds latents {moments} (moments) of clips {clip} (frames, height, width), and this '
                f'run wants {" or ".join(f"{ours} of {theirs}" for theirs, ours in expected.items())}'
            )


def check_objective(experiment: Experiment, network: NetworkPlan) -> None:
    """Check that what is learned suits network and data.

    Raises:
      UserError: A part of config.diffusion asks for what config.model or the clips do not have.
    """
    diffusion = experiment.diffusion
    config = network.config
    if config.autoencodes:
        return

    # Channels of the variance without a loss for them, as SiT's head has, are no mistake.
    learns_variance = diffusion.variance == 'learned_range'
    if learns_variance and not config.learn_variance:
        raise UserError(
            f'config.diffusion.variance={diffusion.variance} needs a network with config.model.learn_variance=true'
        )
    if diffusion.self_conditioning > 0 and not config.self_condition:
        raise UserError(
            f'config.diffusion.self_conditioning={diffusion.self_conditioning} needs a network with '
            'config.model.self_condition=true'
        )
    if config.self_condition and not diffusion.self_conditioning:
        raise UserError(
            'config.model.self_condition=true: set config.diffusion.self_conditioning, the share it learns from'
        )
    if config.context_at_time_zero:
        check_time_zero(experiment)

    # Of the shortest bucket: something must be left to learn in each.
    frames = min(shape[0] for shape in network.latent_shapes)
    if diffusion.context >= frames:
        raise UserError(f'config.diffusion.context={diffusion.context}: the clips have {frames} frames in all')
    config.check_inputs(network.inputs)


def check_time_zero(experiment: Experiment) -> None:
    """Check that a network that takes frames of time 0 for context frames can tell them from almost clean ones.

    Raises:
      UserError: The process numbers its times so that it cannot.
    """
    process = experiment.diffusion.process
    # As close to clean as training gets: if the numbering rounds it to 0 as well, a noisy frame passes for clean.
    clean = float(process.model_time(jnp.float32(0.0)))
    noisy = float(process.model_time(jnp.float32(1e-3)))
    if clean != 0 or noisy == 0:
        raise UserError(
            f'config.diffusion.process: the network takes frames of time 0 for context frames, and here clean frames '
            f'are at {clean:g} and almost clean ones at {noisy:g}; take rectified_flow with numbering=thousand'
        )
