"""What a config's numbers are used for, computed as cheaply as can be: each raises where a number does not work."""

import dataclasses
import types

import jax
import jax.numpy as jnp
import numpy as np

from vdm_jax.data.clip_batches import batch_of
from vdm_jax.data.video.extract_clip import clip_indices, clip_starts
from vdm_jax.data.video_source import VideoSource
from vdm_jax.data.worlds.moving_mnist import MovingMNIST
from vdm_jax.data.worlds.synthetic import Synthetic
from vdm_jax.diffusion.loss import FusedMinSNR
from vdm_jax.evals.protocol import UsualProtocol
from vdm_jax.experiment.experiment import Experiment
from vdm_jax.prng import STREAMS, stream_key
from vdm_jax.train import ema
from vdm_jax.train.optimizers import Muon

T = jnp.linspace(0, 1, 101)
SMALL = 100_000  # values of a clip, or of an embedding, that are drawn in no time
FILM = types.SimpleNamespace(frames=9, times=np.arange(9) / 8.0, seconds=9 / 8, fps=8.0)


def probe(experiment: Experiment, key: str) -> None:
    """Computes what hangs on a key of the experiment."""
    group = key.split('.')[0]
    PROBES.get(group, lambda experiment: None)(experiment)


def finite(*arrays) -> None:
    for array in arrays:
        assert np.isfinite(array).all(), array


def seed(experiment):
    for purpose in STREAMS:
        assert (jax.random.key_data(stream_key(experiment.seed, purpose)) != 0).any()


def data(experiment):
    source = experiment.data
    if isinstance(source, VideoSource):
        fps = source.fps
        starts = clip_starts(FILM, min(source.frames, 100), source.stride, fps)
        count = min(source.frames, 100)
        indices, have = clip_indices(FILM, starts - 1, count, source.stride, fps)
        assert starts >= 1 and 1 <= have <= count and (indices >= 0).all()
        return
    if source.bucketed or isinstance(source, MovingMNIST):  # there are no files
        return
    clips = source.open()
    if np.prod(source.shape) * (len(clips) if isinstance(source, Synthetic) else 1) <= SMALL:
        clip = clips[0]
        assert clip['video'].shape == source.shape and clip['video'].dtype == np.uint8
    if len(clips) <= SMALL:
        assert (clips.order(4).ids(0) < len(clips)).all()


def model(experiment):
    experiment.model.fit_to(experiment.codec.latent_shape(experiment.data.shape), experiment.data.open().num_classes)


def codec(experiment):
    if hasattr(experiment.codec, 'model') and max(vars(experiment.codec.model).get('channels', (0,))) < 1000:
        experiment.codec.latent_shape((5, 64, 64, experiment.codec.model.in_channels))


def text(experiment):
    encoder = experiment.text
    if encoder.length and encoder.width * encoder.length <= SMALL:
        finite(encoder.encode(['a ball'])[0])


def diffusion(experiment):
    objective = experiment.diffusion
    process = experiment.diffusion.process
    logsnr = process.logsnr(T)
    finite(*process.alpha_sigma(T), logsnr, process.clock(T), *process.rates(T), process.model_time(T))
    times = process.time_of(logsnr)
    assert ((times >= 0) & (times <= 1)).all(), times
    finite(process.model_input(process.corrupt(jnp.ones((101, 1)), jnp.ones((101, 1)), T), T))
    finite(process.start(jnp.ones((1, 1)), jnp.float32(1)))
    t = T[None] if isinstance(objective.weighting, FusedMinSNR) else T
    weights = objective.weighting.weight(objective.prediction, process, t)
    finite(weights)
    assert (weights >= 0).all(), weights
    drawn = process.snap(objective.time.sample(jax.random.key(0), (101,), process))
    assert ((drawn > 0) & (drawn <= 1)).all(), drawn


def reconstruction(experiment):
    x = jnp.ones((1, 1, 2, 2, 3)) / 2
    if not experiment.reconstruction.lpips_weight:
        finite(*experiment.reconstruction(x, -x, x, -x)[:2])


def sampler(experiment):
    times = experiment.sampler.spacing.times(experiment.diffusion.process, min(experiment.sampler.steps, 1000))
    finite(times)
    assert (np.diff(times) < 0).all() and times[0] <= 1 and times[-1] >= 0, times


def guidance(experiment):
    x = jnp.ones((101, 1))
    scale = jnp.float32(experiment.guidance.scale)
    finite(experiment.guidance.apply(x, -x, scale, T))


def train(experiment):
    steps = experiment.train.steps
    rates = experiment.optim.schedule_to(experiment.optim.learning_rate, steps)
    learning_rates = rates(jnp.array([0, 1, steps // 2, steps]))
    finite(learning_rates)
    assert (learning_rates >= 0).all()


def optim(experiment):
    params = {'layer': {'kernel': jnp.ones((3, 2)), 'bias': jnp.ones(2)}}
    optimizer = experiment.optim.make(experiment.train.steps)
    update = jax.jit(optimizer.update) if isinstance(experiment.optim, Muon) else optimizer.update
    state = optimizer.init(params)
    grads = jax.tree.map(lambda leaf: leaf / 3, params)
    updates, state = update(grads, state, params)
    finite(*jax.tree.leaves((updates, state)))


def averages(experiment):
    params = {'kernel': jnp.zeros(2)}
    moved = ema.update(experiment.ema, ema.init(experiment.ema, params), {'kernel': jnp.ones(2)}, 10**6)
    for average in moved.values():
        assert ((average['kernel'] > 0) & (average['kernel'] <= 1)).all(), average


def mesh(experiment):
    assert np.prod(experiment.mesh.sizes(8)) == 8


def evaluate(experiment):
    """Of the protocols that score these clips, with a few of them and their truth in place of samples."""
    source = experiment.data
    config = dataclasses.replace(experiment.evaluate, samples=2, real=2, train=2)
    protocol = config.protocol
    network = experiment.model
    if isinstance(protocol, UsualProtocol) or protocol.refusal(source, network):
        return
    judge = protocol.open_judge(source, source, config)
    count = len(judge.labels)
    clips = batch_of(source, range(2))['video']
    result = judge.score(judge.measure(np.arange(count), np.repeat(clips, -(-count // 2), axis=0)[:count]))
    assert result.figures and all(isinstance(value, bool) for value in result.verdict.values())


def checkpoint(experiment):
    assert experiment.checkpoint.keeps(5, [1, 5])


PROBES = {
    'seed': seed,
    'data': data,
    'model': model,
    'codec': codec,
    'text': text,
    'diffusion': diffusion,
    'reconstruction': reconstruction,
    'sampler': sampler,
    'guidance': guidance,
    'train': train,
    'optim': optim,
    'ema': averages,
    'mesh': mesh,
    'checkpoint': checkpoint,
    'evaluate': evaluate,
}
