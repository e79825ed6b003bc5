"""How near are videos to the true ones, clip by clip? PSNR, SSIM, squared and absolute error, and LPIPS.

For whatever has a truth: predictions after context frames, reconstructions, and anybody's videos beside the real ones
of the same order (evaluate --real --fake). Where many futures may follow, the best of several samples says more:
frame_prediction, mcvd_100x256.
"""

import math
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any

import numpy as np

from vdm_jax.config.ranges import Between
from vdm_jax.data.clip_batches import batch_of, read_videos
from vdm_jax.data.source import Reader
from vdm_jax.errors import UserError
from vdm_jax.evals import intervals
from vdm_jax.evals.features.opened import LPIPS, OpenWeights, no_weights
from vdm_jax.evals.judge import Judge, Rows
from vdm_jax.evals.metrics import FRAME, FRAME_METRICS, check_window, compute_psnr
from vdm_jax.evals.negative_controls import change_each, freeze, make_noise, shuffle_frames
from vdm_jax.evals.perceptual import measure_lpips
from vdm_jax.evals.protocol import EvaluateConfig, Protocol, VideoCut, name_split, read_labels, take_context
from vdm_jax.evals.score import Score
from vdm_jax.evals.temporal.curves import Curve
from vdm_jax.nn.config import NetworkConfig

SAMPLES = 'samples'


@dataclass(frozen=True)
class Paired(Protocol):
    """Videos beside the true ones, and in their place the first frame held, its frames shuffled, and noise.

    Attributes:
      context: Frames at the beginning that are given, and count for nothing; of an autoencoder 0.
      lpips: LPIPS's weights: a name that `python -m vdm_jax weights` lists (lpips_alex, lpips), or a file; None: LPIPS
        is left out.
      frames: Of anybody's videos, cut into as many clips as they have; samples are scored with all of theirs.
    """

    context: Annotated[int, Between(0, 2**16)] = 0
    lpips: str | None = None
    frames: Annotated[int, Between(1, 2**16)] = 16

    @property
    def figures(self) -> tuple[str, ...]:
        """Those of frames, each with the ends of its interval."""
        names = (*FRAME_METRICS, *(['lpips'] if self.lpips else []))
        return tuple(f'{name}{end}' for name in names for end in ('', '_low', '_high'))

    @property
    def verdicts(self) -> tuple[str, ...]:
        """Better than the first frame, held."""
        return ('beats_frozen',)

    def refusal(self, reader: Reader, network: NetworkConfig) -> str | None:
        """Return nothing: whether there is a truth hangs on the context frames, which sampling compares."""
        del reader
        needs_context = not network.autoencodes and not self.context
        return 'samples have a truth where context frames are given: set context' if needs_context else None

    def for_context(self, frames: int) -> 'Paired | None':
        """Return the same after as many frames as the network was trained with."""
        return replace(self, context=frames)

    def cut_videos(self) -> VideoCut:
        """Return all clips of each video."""
        return VideoCut(self.frames, 'all')

    def count_videos(self, config: EvaluateConfig, num_real: int) -> int:
        """Return as many as there are real clips: each has its own."""
        return min(config.real, num_real)

    def open_judge(
        self, reader: Reader, held_out: Reader, config: EvaluateConfig, open_weights: OpenWeights = no_weights
    ) -> Judge:
        """Return what compares each batch with its clips."""
        return PairedJudge(self, reader, held_out, config, open_weights)


class PairedJudge(Judge):
    """Errors of videos, each beside its clip."""

    def __init__(
        self, protocol: Paired, reader: Reader, held_out: Reader, config: EvaluateConfig, open_weights: OpenWeights
    ):
        """Open LPIPS where it is wanted.

        Raises:
          UserError: No frames are left to compare, they are too small, or the weights are not there.
        """
        check_window(*reader.shape[1:3])
        if not protocol.context < reader.shape[0]:
            raise UserError(
                f'config.evaluate.protocol.context={protocol.context} leaves nothing to compare of {reader.shape[0]} '
                'frames'
            )
        self._protocol = protocol
        self._clips = held_out
        self._split = name_split(reader, held_out)
        self._seed = config.seed
        # By the order, not by number: of a mixture each source then has its share.
        self._numbers = held_out.order(min(config.real, len(held_out)), shuffle=False).ids(0)
        self._lpips = open_weights(LPIPS(), protocol.lpips) if protocol.lpips else None
        self.weights_sha256 = (self._lpips.sha256,) if self._lpips else ()
        self.labels = read_labels(held_out, self._numbers)

    def conditions_of(self, rows: np.ndarray) -> Rows:
        """Return the context frames and texts of the clips, or all frames for an autoencoder."""
        if not self._protocol.context:
            return {'frames': self._read(rows)}
        return take_context(batch_of(self._clips, self._numbers[rows]), self._protocol.context)

    def _read(self, rows: np.ndarray) -> np.ndarray:
        return read_videos(self._clips, self._numbers[rows])

    def measure(self, numbers: np.ndarray, videos: np.ndarray) -> Rows:
        """Compare videos, and the controls in their place, with the clips of these numbers."""
        context = self._protocol.context
        true = self._read(numbers)
        # The last frame that is known, or the first there is.
        last = true[:, max(context - 1, 0) :]
        sets = {
            SAMPLES: videos[:, context:],
            'frozen': freeze(last)[:, min(context, 1) :],
            'shuffled': change_each(shuffle_frames, true[:, context:], numbers, self._seed),
            'noise': change_each(make_noise, true[:, context:], numbers, self._seed),
        }
        rows: Rows = {}
        for name, clips in sets.items():
            rows |= {f'{name}/{figure}': values for figure, values in self._compare(clips, true[:, context:]).items()}
        return rows

    def _compare(self, videos: np.ndarray, true: np.ndarray) -> Rows:
        """Return figures by clip (n,), and curves by frame (n, T) under their name and 'by_frame'."""
        figures: Rows = {name: metric(videos, true) for name, metric in FRAME_METRICS.items()}
        figures['psnr_by_frame'] = compute_psnr(videos, true, FRAME)
        if self._lpips:
            by_frame = measure_lpips(videos, true, self._lpips.params, self._lpips.network.backbone)
            figures |= {'lpips': by_frame.mean(1), 'lpips_by_frame': by_frame}
        return figures

    def score(self, rows: Rows) -> Score:
        """Average over clips, with intervals of the samples' figures and their curves over frames."""
        figures: dict[str, dict[str, float]] = {}
        curves: dict[str, dict[str, Any]] = {}
        for key, values in rows.items():
            row, _, name = key.partition('/')
            if name.endswith('_by_frame'):
                figure = name.removesuffix('_by_frame')
                # Where a frame is equal to the truth its PSNR is infinite, and has no place in a curve.
                finite = np.where(np.isfinite(values), values, np.nan)
                curves.setdefault(row, {})[figure] = Curve(figure, finite, self._protocol.context).to_json()
                continue
            mean = float(values.mean())
            figures.setdefault(row, {})[name] = mean
            if row == SAMPLES:
                # A clip that is equal to the truth makes the mean PSNR infinite; the others' interval is not about it.
                ends = intervals.mean_interval(values, self._seed) if math.isfinite(mean) else (mean, mean)
                figures[row] |= {f'{name}_low': ends[0], f'{name}_high': ends[1]}

        samples = figures[SAMPLES]
        return Score(
            name=f'paired{len(self.labels)}_{self._clips.shape[0] - self._protocol.context}f',
            figures=figures,
            verdict={'beats_frozen': bool(samples['mse'] < figures['frozen']['mse'])},
            settings={
                'split': self._split,
                'context': self._protocol.context,
                'real_clips': len(self.labels),
                'lpips': self._describe_lpips(),
                'interval': intervals.ABOUT,
                'curves': curves,
            },
        )

    def _describe_lpips(self) -> dict[str, Any] | None:
        if not self._lpips:
            return None
        backbone = asdict(self._lpips.network.backbone)
        return {'weights': self._lpips.weights, 'sha256': self._lpips.sha256, 'backbone': backbone['name']}
