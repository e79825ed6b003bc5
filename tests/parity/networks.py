"""The networks that are compared: cases, their weights and inputs by seed, our side of each, and the rules.

A case is one configuration of a source with one shape of clip. Weights are noise, gates and heads too, for with a
network's own start, where those are 0, everything would look right. All numbers come from numpy's RandomState, whose
stream numpy promises for ever, seeded by what they are for: so outputs can be kept without weights and inputs. The
official side is in networks_torch.py; what it gave is in fixtures/networks.npz.
"""

import dataclasses
import functools
import pathlib
import zlib
from collections.abc import Callable, Mapping

import jax
import numpy as np
import optax

from vdm_jax import pretrained
from vdm_jax.models.dit import VideoDiTConfig
from vdm_jax.pretrained.network import Network
from vdm_jax.pretrained.table import export_tensors
from vdm_jax.train.optimizers import AdamW

FIXTURES = pathlib.Path(__file__).parent / 'fixtures' / 'networks.npz'
# What may differ: every number, the loss, and `gradient_error`. Rounding makes 1e-5 of the first and of the last, an
# exact GELU in place of the approximate one 5e-5 and 4e-4.
FORWARD = 3e-5
LOSS = 1e-5
GRADIENT = 1e-4
PROBES = 8  # random directions, along which a kept gradient is known
STRIDE = 3  # one output of so many is kept
TEXT = 6  # tokens
HEADS = 'final_layer.linear', 'proj_out'
ADAMW = AdamW(learning_rate=1e-4, weight_decay=0.0, clip=None)  # as DiT, SiT and Latte train


@dataclasses.dataclass(frozen=True)
class Case:
    """One comparison. clip: (B, T, H, W) of its latents. about: config.json, of sources that have one. kept: its
    outputs are among the fixtures. learns: its loss and gradients are compared."""

    source: str
    name: str
    config: VideoDiTConfig
    clip: tuple[int, int, int, int]
    about: Mapping = dataclasses.field(default_factory=dict, hash=False)
    kept: bool = False
    learns: bool = True

    @property
    def key(self) -> str:
        return f'{self.source}, {self.name}'

    @functools.cached_property
    def module(self):
        """The source."""
        return pretrained.SOURCES[self.source]

    @functools.cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of the source's tensors, by their names, without those that are computed."""
        params = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), abstract(self.config))
        return {name: array.shape for name, array in export_tensors(self.module.rows(self.config), params).items()}


def abstract(config: VideoDiTConfig) -> dict:
    """Shapes of our parameters."""
    return jax.eval_shape(lambda: Network.init(config))


def parameter_count(config: VideoDiTConfig) -> int:
    """How many numbers are trained."""
    return sum(leaf.size for leaf in jax.tree.leaves(abstract(config)))


def _images(patch, side, channels=4, **more):
    return VideoDiTConfig(
        patch=patch, layout='frames', channels=channels, grid=(1, side // patch, side // patch), **more
    )


def _clips(frames, patch, side, **more):
    grid = frames, side // patch, side // patch
    return VideoDiTConfig(patch=patch, layout='interleaved', images='aside', channels=4, grid=grid, **more)


def _texts(frames, sample_size, width, heads, depth, **more):
    """LatteTransformer3DModel's config and ours."""
    about = {
        'num_attention_heads': heads, 'attention_head_dim': width // heads, 'num_layers': depth // 2,
        'in_channels': 4, 'out_channels': 8, 'cross_attention_dim': width, 'attention_bias': True, 'patch_size': 2,
        'sample_size': sample_size, 'activation_fn': 'gelu-approximate', 'norm_type': 'ada_norm_single',
        'norm_elementwise_affine': False, 'norm_eps': 1e-6, 'caption_channels': 20, 'video_length': frames,
    }  # fmt: skip
    about |= more
    config = VideoDiTConfig(
        depth=depth,
        width=width,
        heads=heads,
        layout='interleaved',
        position_span=sample_size // 2 / max(sample_size // 64, 1),
        modulation='adaln_single',
        learn_variance=about['out_channels'] == 8,
        text_width=20,
        channels=4,
        classes=0,
        grid=(frames, sample_size // 2, sample_size // 2),
    )
    return {'config': config, 'about': about}


def make_published_config(size: str, patch: int, frames: int | None = None) -> VideoDiTConfig:
    """DiT-SIZE/PATCH for ImageNet at 256x256, or Latte-SIZE/PATCH of so many frames, unconditional."""
    if frames is None:
        return _images(patch, 32, size=size, learn_variance=True, classes=1000)
    return _clips(frames, patch, 32, size=size, learn_variance=True, classes=0)


LEARNED = {'learn_variance': True}
SMALL = {'width': 48, 'depth': 2, 'heads': 4, 'learn_variance': True}
CASES = (
    Case('dit', 'patch 2, 3 blocks', _images(2, 8, **SMALL | {'depth': 3}, classes=7), (3, 1, 8, 8), kept=True),
    Case(
        'dit',
        'patch 4, 3 heads of 20, MLP x2.5',
        _images(4, 12, width=60, depth=2, heads=3, mlp_ratio=2.5, **LEARNED, classes=5),
        (3, 1, 12, 12),
    ),
    Case(
        'dit',
        'patch 8, pixels, no learned variance',
        _images(8, 40, 3, width=32, depth=2, heads=2, classes=3),
        (4, 1, 40, 40),
    ),
    Case('dit', 'S/2', _images(2, 16, size='S', **LEARNED, classes=1000), (3, 1, 16, 16)),
    Case('dit', 'B/4', _images(4, 16, size='B', **LEARNED, classes=1000), (2, 1, 16, 16), learns=False),
    Case('sit', 'patch 2, 3 blocks', _images(2, 8, **SMALL | {'depth': 3}, classes=7), (3, 1, 8, 8), kept=True),
    Case(
        'sit',
        'patch 4, head of 4 channels',
        _images(4, 20, width=60, depth=2, heads=3, classes=5),
        (3, 1, 20, 20),
    ),
    Case('sit', 'S/2', _images(2, 16, size='S', **LEARNED, classes=1000), (3, 1, 16, 16)),
    Case('latte', 'classes', _clips(5, 2, 8, **SMALL, classes=5), (3, 5, 8, 8), kept=True),
    Case(
        'latte',
        'no classes, patch 4, 3 heads of 20',
        _clips(3, 4, 12, width=60, depth=4, heads=3, **LEARNED, classes=0),
        (3, 3, 12, 12),
        kept=True,
    ),
    Case(
        'latte',
        'patch 8, MLP x3, no learned variance',
        _clips(7, 8, 24, width=32, depth=2, heads=2, mlp_ratio=3.0, classes=3),
        (3, 7, 24, 24),
    ),
    Case('latte', 'one frame', _clips(1, 2, 6, **SMALL, classes=5), (3, 1, 6, 6)),
    Case('latte', 'S/2, classes', _clips(16, 2, 8, size='S', **LEARNED, classes=101), (3, 16, 8, 8)),
    Case('latte', 'B/4, no classes', _clips(4, 4, 16, size='B', **LEARNED, classes=0), (2, 4, 16, 16), learns=False),
    Case('latte_t2v', 'sample_size 64', **_texts(3, 64, 48, 4, 4), clip=(3, 3, 8, 12), kept=True),
    Case('latte_t2v', 'sample_size 128', **_texts(2, 128, 36, 3, 2), clip=(2, 2, 12, 6)),
    Case(
        'latte_t2v', 'sample_size 8, no learned variance', **_texts(5, 8, 48, 4, 2, out_channels=4), clip=(2, 5, 10, 4)
    ),
)
BY_KEY = {case.key: case for case in CASES}


def drawn(shape, *what) -> np.ndarray:
    """Normal numbers, float32, the same every time for what they are."""
    seed = zlib.crc32('/'.join(map(str, what)).encode())
    return np.random.RandomState(seed).standard_normal(shape).astype(np.float32)


def weights(case: Case) -> dict[str, np.ndarray]:
    """The source's tensors: matrices scaled by their inputs, so that nothing fades or explodes, and vectors by 0.1.

    The output of the head is about 0.3, so that with the noise of `batch` timestep 0 is not scored in the tails of its
    normal: there the official likelihood is the difference of two float32 numbers that are 1 but for rounding.
    """

    def tensor(name, shape):
        scale = 0.1 if len(shape) < 2 else np.prod(shape[1:]) ** -0.5
        return drawn(shape, case.key, name) * np.float32(scale * (0.3 if name.startswith(HEADS) else 1))

    return {name: tensor(name, shape) for name, shape in case.shapes.items()}


@dataclasses.dataclass(frozen=True)
class Batch:
    """Inputs of a network: x, its input, or in training the clean latents, and eps, (B, T, H, W, C); times, in
    the source's own numbering; conditions, as Network takes them."""

    x: np.ndarray
    eps: np.ndarray
    times: np.ndarray
    conditions: dict


def batch(case: Case, turn: int = 0) -> Batch:
    """The input of a case; `turn` gives others. Times hold the first and the last."""
    shape = (*case.clip, case.config.channels)
    config = case.config
    size = shape[0]
    random = np.random.RandomState(zlib.crc32(f'{case.key}/{turn}'.encode()))
    if case.source == 'sit':
        times = np.append([0.0, 1.0], random.uniform(size=size)).astype(np.float32)
    else:
        times = np.append([0, 999], random.randint(1, 999, size))
    conditions = {}
    if config.classes:
        conditions['label'] = np.append(config.classes, random.randint(0, config.classes, size))[:size]  # one of none
    if config.text_width:
        conditions['text'] = drawn((size, TEXT, config.text_width), case.key, turn, 'text')
        conditions['text_mask'] = np.arange(TEXT) < np.append(TEXT, random.randint(1, TEXT, size))[:size, None]
    x, eps = (drawn(shape, case.key, turn, name) for name in ('x', 'eps'))
    return Batch(x, eps.clip(-2, 2), times[:size], conditions)


def load(case: Case, arrays: Mapping[str, np.ndarray] | None = None) -> Network:
    """Our network with the tensors (the case's own weights, and what is computed)."""
    arrays = weights(case) | case.module.computed_tensors(case.config) if arrays is None else arrays
    return pretrained.load(case.source, arrays, case.about, heads=case.config.heads)


def forward(model: Network, inputs: Batch) -> np.ndarray:
    """Return the network's output, (B, T, H, W, C)."""
    return np.asarray(model(inputs.x, inputs.times, **inputs.conditions))


def house_time(case: Case, times: np.ndarray) -> np.ndarray:
    """The source's own times as ours, in [0, 1] with 1 = noise."""
    return np.float32(1 - times if case.source == 'sit' else (times + 1) / 1000)


def training_loss(model: Network, params: dict, x0, eps, t, conditions: dict):
    """The mean loss of training at the house's t, (B,)."""
    objective = model.objective
    x_t = objective.process.corrupt(x0, eps, t)
    network_input = objective.process.model_input(x_t, t)
    time = objective.process.model_time(t)
    return objective.loss(model.apply(params, network_input, time, conditions), x0, eps, x_t, t).mean()


def learner(case: Case, model: Network) -> Callable:
    """(params, batch) -> (training loss, its gradient), jitted."""
    loss_and_gradient = jax.jit(jax.value_and_grad(functools.partial(training_loss, model)))

    def learn(params, inputs):
        t = house_time(case, inputs.times)
        return loss_and_gradient(params, inputs.x, inputs.eps, t, inputs.conditions)

    return learn


def loss_and_gradients(case: Case, model: Network, inputs: Batch) -> tuple[float, dict[str, np.ndarray]]:
    """(training loss, its gradients by the source's names): they are as linear in ours as its tensors are."""
    loss, grads = learner(case, model)(model.params, inputs)
    return float(loss), export_tensors(model.source.rows(model.config), grads)


def train_steps(case: Case, model: Network, turns: int) -> dict[str, np.ndarray]:
    """The source's tensors after so many steps of our optimizer, each on a batch of its own."""
    optimizer = ADAMW.make(turns)
    learn = learner(case, model)
    params = model.params
    state = optimizer.init(params)
    for turn in range(turns):
        _, grads = learn(params, batch(case, turn))
        updates, state = jax.jit(optimizer.update)(grads, state, params)
        params = optax.apply_updates(params, updates)
    return export_tensors(model.source.rows(model.config), params)


def norms(arrays: Mapping[str, np.ndarray]) -> dict[str, float]:
    return {name: float(np.linalg.norm(np.float64(array).ravel())) for name, array in arrays.items()}


def floors(sizes: Mapping[str, float]) -> dict[str, float]:
    """What the error of each gradient is measured by: its norm, or 1e-6 of the norm of all where that is larger.

    A key's bias has no gradient under softmax. Where it is a tensor by itself (latte_t2v) both sides have rounding
    only, about 1e-9 of the total norm, and the share is 1e-4.
    """
    total_norm = np.linalg.norm(list(sizes.values()))

    def share(name):
        return 1e-4 if name.endswith('to_k.bias') else 1e-6

    return {name: max(size, share(name) * total_norm) for name, size in sizes.items()}


def gradient_error(ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray]) -> float:
    """The greatest error of any tensor's gradient, by `floors`."""
    assert ours.keys() == theirs.keys()
    by = floors(norms(theirs))
    apart = norms({name: ours[name] - theirs[name] for name in theirs})
    return max(apart[name] / by[name] for name in theirs)


def probe(name: str, array: np.ndarray) -> np.ndarray:
    """An array along random directions, (PROBES,). The mean square of what two arrays differ by there is, on average,
    the square of the norm of their difference: so a few numbers stand for all of them."""
    return drawn((PROBES, array.size), 'probe', name) @ np.ravel(array)


def probe_error(ours: Mapping[str, np.ndarray], probes: Mapping[str, np.ndarray], sizes: Mapping[str, float]) -> float:
    """`gradient_error`, by the stored probes and norms of theirs."""
    assert ours.keys() == probes.keys() == sizes.keys()
    by = floors(sizes)
    apart = {name: np.sqrt(np.mean((probe(name, ours[name]) - probes[name]) ** 2)) for name in probes}
    return max(apart[name] / by[name] for name in probes)
