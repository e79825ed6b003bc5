"""Our samplers beside the schedulers of diffusers: the cases, the networks they walk with, and our side of them.

A case is one configuration of a scheduler with one number of steps. It walks two networks (a mixture's exact posterior,
and an arbitrary smooth function) for each of its predictions, all at once as rows of one batch. Their side is in
samplers_torch.py, where both networks are written again; what it gave is in fixtures/samplers.npz.
"""

import dataclasses
import math
import pathlib
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np

from vdm_jax.diffusion import sample_loop
from vdm_jax.diffusion.ddpm import DDPM
from vdm_jax.diffusion.flow import RectifiedFlow
from vdm_jax.diffusion.multistep import DPMSolverPP2M, DPMSolverPP2MSDE
from vdm_jax.diffusion.objective import Denoised
from vdm_jax.diffusion.prediction import to_x0_eps
from vdm_jax.diffusion.process import Process
from vdm_jax.diffusion.samplers import DDIM, Ancestral, Euler, Heun, Sampler
from vdm_jax.diffusion.spacing import DropLast, Karras, Leading, Linear, Shifted, Spacing, StopAtFirst, Trailing
from vdm_jax.diffusion.unipc import UniPC

FIXTURES = pathlib.Path(__file__).parent / 'fixtures' / 'samplers.npz'
# The largest difference of any number of a final sample, whose scale is that of the data, about 1.5.
TOLERANCE = 1e-4
SHARP = 2e-5

STEPS = (5, 10, 25, 50)
MOST = 100
SHAPE = 3, 1, 2, 2  # of a video: T, H, W, C
MODES = (-1.0, 0.2, 0.9)
SHARES = (0.3, 0.3, 0.4)
WIDTH = 0.25


@dataclasses.dataclass(frozen=True)
class Case:
    """One walk of theirs and of ours.

    scheduler, config: their class and what it is made with (prediction_type comes from `predictions`). step_options:
    keywords of each of its steps. sigmas: an argument of its set_timesteps, if any. predictions: ours, one after the
    other. still: the noise of the last step is 0, where diffusers adds some though it lands on clean data.
    """

    name: str
    spacing: str
    scheduler: str
    config: dict
    sampler: Sampler
    process: Process = DDPM()
    predictions: tuple[str, ...] = ('eps', 'v', 'x0')
    step_options: dict = dataclasses.field(default_factory=dict)
    sigmas: tuple[float, ...] | None = None
    still: bool = False

    @property
    def steps(self) -> int:
        return self.sampler.steps

    @property
    def configuration(self) -> str:
        return f'{self.name}, {self.spacing}'

    @property
    def key(self) -> str:
        return f'{self.configuration}, {self.steps} steps'

    @property
    def names(self) -> list[str]:
        """Of its walks, one for each prediction."""
        return [f'{self.key}, {kind}' for kind in self.predictions]


LINEAR = {'beta_start': 1e-4, 'beta_end': 0.02, 'beta_schedule': 'linear'}
# Their names of spacings as ours: for DDPM and DDIM, for the multistep solvers, for Euler and Heun.
PLAIN = {'leading': Leading(), 'trailing': Trailing(), 'linspace': Linear('zero')}
SHORTER = PLAIN | {'leading': DropLast(Leading()), 'linspace': DropLast(Linear('zero'))}
BETWEEN = PLAIN | {'linspace': Linear('none')}
OWN_KARRAS = Karras(None, None)


def _ancestral(steps):
    for variance, theirs in {'small': 'fixed_small', 'large': 'fixed_large', 'learned': 'learned_range'}.items():
        for spacing, times in PLAIN.items():
            config = LINEAR | {'variance_type': theirs, 'clip_sample': False, 'timestep_spacing': spacing}
            sampler = Ancestral(steps=steps, spacing=times, variance=variance)
            still = spacing == 'trailing' and variance != 'small'
            yield Case(f'DDPM {theirs}', spacing, 'DDPMScheduler', config, sampler, still=still)


def _ddim(steps):
    scheduler = 'DDIMScheduler'
    config = LINEAR | {'clip_sample': False}
    for eta in (0.0, 0.6):
        for spacing in ('leading', 'trailing'):
            sampler = DDIM(steps=steps, spacing=PLAIN[spacing], eta=eta)
            theirs = config | {'timestep_spacing': spacing}
            yield Case(f'DDIM eta {eta:g}', spacing, scheduler, theirs, sampler, step_options={'eta': eta})
    leading = {'timestep_spacing': 'leading'}
    sampler = DDIM(steps=steps, spacing=StopAtFirst(Leading(offset=1)))
    theirs = config | leading | {'set_alpha_to_one': False, 'steps_offset': 1}
    yield Case('DDIM set_alpha_to_one=False, steps_offset=1', 'leading', scheduler, theirs, sampler)
    sampler = DDIM(steps=steps, spacing=Leading(), clip=0.7)
    theirs = config | leading | {'clip_sample': True, 'clip_sample_range': 0.7}
    options = {'use_clipped_model_output': True}
    yield Case('DDIM clipped to 0.7', 'leading', scheduler, theirs, sampler, step_options=options)
    sampler = DDIM(steps=steps)
    both = {'predictions': ('v', 'x0')}
    theirs = config | {'timestep_spacing': 'trailing'}
    zero = theirs | {'rescale_betas_zero_snr': True}
    yield Case('DDIM zero SNR', 'trailing', scheduler, zero, sampler, DDPM(zero_terminal_snr=True), **both)
    cosine = theirs | {'beta_schedule': 'squaredcos_cap_v2'}
    yield Case('DDIM cosine', 'trailing', scheduler, cosine, sampler, DDPM('cosine'), **both)


def _ddim_over_all(steps):
    """DDIM's linspace of all timesteps: with fewer steps, diffusers goes to other times than those it evaluates at."""
    betas = {'beta_start': 0.1 / steps, 'beta_end': 20 / steps, 'num_train_timesteps': steps}
    config = LINEAR | betas | {'clip_sample': False, 'timestep_spacing': 'linspace'}
    for eta in (0.0, 0.6):
        parts = DDIM(steps=steps, spacing=PLAIN['linspace'], eta=eta), DDPM(steps=steps)
        name = f'DDIM eta {eta:g}'
        options = {'eta': eta}
        yield Case(name, 'linspace of all timesteps', 'DDIMScheduler', config, *parts, step_options=options)


def _multistep(steps):
    solver = 'DPMSolverMultistepScheduler'
    for name, scheduler, ours, config in (
        ('DPM-Solver++ 1 (DDIM)', solver, DDIM, {'solver_order': 1}),
        ('DPM-Solver++ 2M', solver, DPMSolverPP2M, {}),
        ('DPM-Solver++ 2M SDE', solver, DPMSolverPP2MSDE, {'algorithm_type': 'sde-dpmsolver++'}),
        ('UniPC', 'UniPCMultistepScheduler', UniPC, {}),
    ):
        for spacing, times in SHORTER.items():
            theirs = LINEAR | config | {'timestep_spacing': spacing}
            yield Case(name, spacing, scheduler, theirs, ours(steps=steps, spacing=times))
        if ours in (DPMSolverPP2M, UniPC):
            theirs = LINEAR | config | {'use_karras_sigmas': True}
            process = DDPM(numbering='rounded')
            yield Case(name, 'karras', scheduler, theirs, ours(steps=steps, spacing=OWN_KARRAS), process)
            lower = ours is UniPC or steps < 15
            spacing = StopAtFirst(SHORTER['linspace'])
            theirs = LINEAR | config | {'timestep_spacing': 'linspace', 'final_sigmas_type': 'sigma_min'}
            sampler = ours(steps=steps, spacing=spacing, lower_order_final=lower)
            yield Case(f'{name} to sigma_min', 'linspace', scheduler, theirs, sampler)


def _euler_and_heun(steps):
    for name, ours in {'Euler': Euler, 'Heun': Heun}.items():
        scheduler = f'{name}DiscreteScheduler'
        for spacing, times in BETWEEN.items():
            walk = {'steps': steps, 'clock': 'sigma', 'start': 'process' if spacing == 'leading' else 'sigma'}
            theirs = LINEAR | {'timestep_spacing': spacing}
            yield Case(name, spacing, scheduler, theirs, ours(**walk, spacing=times))
            sampler = ours(**walk, spacing=_karras_on(times, steps))
            theirs = theirs | {'use_karras_sigmas': True}
            yield Case(name, f'karras on {spacing}', scheduler, theirs, sampler)
    theirs = LINEAR | {'timestep_spacing': 'trailing', 'final_sigmas_type': 'sigma_min'}
    sampler = Euler(steps=steps, spacing=StopAtFirst(Trailing()), clock='sigma', start='sigma')
    yield Case('Euler to sigma_min', 'trailing', 'EulerDiscreteScheduler', theirs, sampler)


def _karras_on(times: Spacing, steps: int) -> Spacing:
    """Karras' sigmas as their Euler and Heun have them: from where another spacing begins to where it ends."""
    alpha, sigma = DDPM().alpha_sigma(times.times(DDPM(), steps)[:-1])
    first, *_, last = np.asarray(sigma / alpha).tolist()
    if isinstance(times, Leading):
        return Karras(None, first, from_noise=False)
    return Karras(last, None) if isinstance(times, Trailing) else OWN_KARRAS


def _flow(steps):
    exact = {'process': RectifiedFlow(), 'predictions': ('velocity',)}
    floor = {'process': RectifiedFlow(numbering='thousand_floor'), 'predictions': ('velocity',)}
    for shift in (1.0, 3.0, 5.0):
        name = f'shift {shift:g}'
        theirs = {'shift': shift}
        scheduler = 'FlowMatch{}DiscreteScheduler'.format
        smallest = Shifted(shift, stop=shift / (999 + shift))
        yield Case('flow Euler', name, scheduler('Euler'), theirs, Euler(steps=steps, spacing=smallest), **exact)
        evenly = tuple(np.linspace(1, 0, steps + 1)[:-1].tolist())
        ours = Euler(steps=steps, spacing=Shifted(shift))
        yield Case('flow Euler, sigmas given', name, scheduler('Euler'), theirs, ours, sigmas=evenly, **exact)
        yield Case('flow Heun', name, scheduler('Heun'), theirs, Heun(steps=steps, spacing=smallest), **exact)

        theirs = {'use_flow_sigmas': True, 'flow_shift': shift}
        ours = DPMSolverPP2M(steps=steps, spacing=Shifted(shift, start=0.999))
        yield Case('flow DPM-Solver++ 2M', name, 'DPMSolverMultistepScheduler', theirs, ours, **floor)
        start = (1 - 1e-6) / (1 - 1e-6 + shift * 1e-6)  # is 1 - 1e-6 once it is shifted
        ours = UniPC(steps=steps, spacing=DropLast(Shifted(shift, start=start, stop=0.001)))
        yield Case('flow UniPC', name, 'UniPCMultistepScheduler', theirs, ours, **floor)


KINDS = {
    _ancestral: STEPS,
    _ddim: STEPS,
    _ddim_over_all: (25, 50, 100),
    _multistep: STEPS,
    _euler_and_heun: STEPS,
    _flow: STEPS,
}
CASES = [case for make, counts in KINDS.items() for steps in counts for case in make(steps)]


def load_stored() -> dict[str, np.ndarray]:
    """Where their walks ended when make_samplers.py was run, by Case.key."""
    with np.load(FIXTURES) as file:
        ends = dict(zip(file['names'].tolist(), file['ends'], strict=True))
    by_case = {case.key: np.stack([ends.pop(name) for name in case.names]) for case in CASES}
    assert not ends, f'{FIXTURES} holds what is no case: {list(ends)}'
    return by_case


def errors(theirs: dict[str, np.ndarray], source: str) -> list[dict]:
    """Rows of a table of results: for each scheduler and spacing the largest error of any number of a final sample.

    theirs: where their walks end, by Case.key. source: who they are, such as 'diffusers 0.42.1'.
    """
    largest = {}
    for case, mine in zip(CASES, ours(CASES), strict=True):
        error = float(np.abs(mine - theirs[case.key]).max())
        largest[case.configuration] = max(largest.get(case.configuration, 0.0), error)
    nothing = {'forward': None, 'gradient': None}
    return [{'source': source, 'configuration': name, **nothing, 'sampler': error} for name, error in largest.items()]


def start() -> np.ndarray:
    """The noise that a walk begins with, one video for each network: (2, *SHAPE)."""
    return np.random.RandomState(0).standard_normal((2, *SHAPE)).astype(np.float32)


def drawn(case: Case) -> np.ndarray:
    """The noise of its steps, the same for every prediction: (steps, 2, *SHAPE)."""
    noise = np.random.RandomState(1).standard_normal((case.steps, 2, *SHAPE)).astype(np.float32)
    if case.still:
        noise[-1] = 0
    return noise


def ours(cases: list[Case]) -> list[np.ndarray]:
    """Where our walk of each case ends: (predictions, 2, *SHAPE).

    Compiling takes nearly all of the time, so walks that differ only in their times share a program.
    """
    programs = {}
    return [_walk(programs, case) for case in cases]


def _walk(programs: dict, case: Case) -> np.ndarray:
    rows = len(case.predictions)
    times = case.sampler.spacing.times(case.process, case.steps)
    noise = np.tile(drawn(case), (1, rows, 1, 1, 1, 1))
    padded = [np.zeros((MOST + 1, *array.shape[1:]), np.float32) for array in (times, noise)]
    padded[0][: len(times)] = times
    padded[1][: len(noise)] = noise
    lower = getattr(case.sampler, 'lower_order_final', False)  # nothing else knows the end
    end = case.sampler.spacing.end(case.process) if lower else 0.0
    general = dataclasses.replace(case.sampler, steps=MOST, spacing=Trailing())
    built_in = type(general), str(general), str(case.process), case.predictions, end
    if built_in not in programs:
        programs[built_in] = _program(dataclasses.replace(case, sampler=general), end)
    ends = programs[built_in](np.tile(start(), (rows, 1, 1, 1, 1)), *padded, case.steps)
    return np.asarray(ends).reshape(rows, 2, *SHAPE)


def _program(case: Case, end: float):
    """`sample` compiled for any times and number of steps: but for these it is as it is, and its scan stops in time."""

    def walk(x, times, noise, steps):
        def scan(step, init, xs):
            def at(i):
                return jax.tree.map(lambda x: x[i], xs)

            return jax.lax.fori_loop(0, steps, lambda i, carry: step(carry, at(i))[0], init), None

        sampler = dataclasses.replace(case.sampler, spacing=Laid(times, end))
        keys = jax.random.split(jax.random.key(0), len(x))
        with (
            mock.patch.object(sample_loop, '_draw_noise', lambda keys, i, shape: noise[i]),
            mock.patch.object(sample_loop.jax.lax, 'scan', scan),
        ):
            return sample_loop.sample(_denoiser(case), sampler, case.process, x, keys)

    return jax.jit(walk)


@dataclasses.dataclass(frozen=True)
class Laid(Spacing):
    """Fixed times, the last of which matters only as `last`."""

    given: jax.Array
    last: float

    def times(self, process, steps):
        return self.given

    def end(self, process):
        return self.last


def _denoiser(case: Case):
    rows = len(case.predictions)

    def denoise(x, t, before):
        fed = case.process.model_time(t[0])
        u = (fed + 1) / case.process.steps if case.process.steps else fed / 1000
        path = case.process.schedule if isinstance(case.process, DDPM) else 'flow'
        pairs = x.reshape(rows, 2, *SHAPE)
        two = t[:2]
        estimates = [
            to_x0_eps(kind, case.process, predict(kind, x0, pair, u, path), pair, two)
            for kind, x0, pair in zip(case.predictions, networks(pairs, u, path), pairs, strict=True)
        ]
        x0, eps = (jnp.concatenate(parts) for parts in zip(*estimates, strict=True))
        return Denoised(x0, eps, jnp.tanh(x + jnp.cos(3 * u)))

    return denoise


def networks(pairs, u, path):
    """Return x0 of both networks: the mixture's of pairs[:, 0], the wave's of pairs[:, 1]."""
    return jnp.stack([mixture(pairs[:, 0], u, path), wave(pairs[:, 1], u, path)], 1)


def mixture(x, u, path):
    """E[x0 | x] where every number of x0 is of three normals at MODES, with SHARES and standard deviation WIDTH."""
    alpha, sigma = path_of(u, path)
    modes, shares = (jnp.array(values).reshape(-1, *[1] * x.ndim) for values in (MODES, SHARES))
    variance = (alpha * WIDTH) ** 2 + sigma**2
    off = x[None] - alpha * modes
    share = jax.nn.softmax(jnp.log(shares) - off**2 / (2 * variance), 0)
    return (share * (modes + alpha * WIDTH**2 / variance * off)).sum(0)


def wave(x, u, path):
    """x0 of a v, or of a velocity, that is smooth, bends, mixes frames, and listens to the time."""
    alpha, sigma = path_of(u, path)
    v = jnp.tanh(0.9 * x + 0.5 * jnp.roll(x, 1, -4) + jnp.sin(4 * u)) * (0.8 + 0.2 * jnp.cos(3 * u * x))
    return x - sigma * v if path == 'flow' else alpha * x - sigma * v


def predict(kind, x0, x, u, path):
    """Return the prediction of this kind for x0."""
    alpha, sigma = path_of(u, path)
    eps = (x - alpha * x0) / sigma
    return {'x0': x0, 'eps': eps, 'v': alpha * eps - sigma * x0, 'velocity': eps - x0}[kind]


def path_of(u, path):
    """alpha and sigma as the network knows them: near the table of the process, not the same."""
    if path == 'flow':
        return 1 - u, u
    if path == 'cosine':
        angle = (u + 0.008) / 1.008 * (math.pi / 2)
        return jnp.cos(angle), jnp.sin(angle)
    log_alpha = -(0.1 * u + 9.95 * u**2) / 2
    return jnp.exp(log_alpha), jnp.sqrt(-jnp.expm1(2 * log_alpha))
