"""Index of every name that a config can hold: one table for each group that is a choice between classes."""

from typing import Any

from vdm_jax.codecs.codec import Codec
from vdm_jax.codecs.identity import Identity
from vdm_jax.codecs.image_codec import ImageVAECodec
from vdm_jax.codecs.image_vae import ImageVAEConfig
from vdm_jax.codecs.video_codec import VideoVAECodec
from vdm_jax.codecs.video_vae import VideoVAEConfig
from vdm_jax.config.schema import Choice
from vdm_jax.data.bucketed import Bucketed
from vdm_jax.data.joint_images import JointImages
from vdm_jax.data.mixture import Mixture
from vdm_jax.data.records.source import Records
from vdm_jax.data.source import Source
from vdm_jax.data.tfds import Tfds
from vdm_jax.data.video_folder import VideoFolder
from vdm_jax.data.worlds.bouncing_balls import BouncingBalls
from vdm_jax.data.worlds.colliding_balls import CollidingBalls
from vdm_jax.data.worlds.moving_mnist import MovingMNIST
from vdm_jax.data.worlds.panned_balls import PannedBalls
from vdm_jax.data.worlds.phyworld import PhyWorld
from vdm_jax.data.worlds.shadowed_balls import ShadowedBalls
from vdm_jax.data.worlds.synthetic import Synthetic
from vdm_jax.diffusion.ddpm import DDPM
from vdm_jax.diffusion.edm import EDM
from vdm_jax.diffusion.flow import RectifiedFlow
from vdm_jax.diffusion.logsnr_cosine import LogSNRCosine
from vdm_jax.diffusion.loss import (
    Constant,
    EDMWeight,
    FusedMinSNR,
    MinSNR,
    Sigmoid,
    Truncated,
    Velocity,
    Weighting,
)
from vdm_jax.diffusion.multistep import DPMSolverPP2M, DPMSolverPP2MSDE
from vdm_jax.diffusion.process import Process
from vdm_jax.diffusion.samplers import DDIM, Ancestral, Euler, Heun, Sampler, StochasticHeun
from vdm_jax.diffusion.spacing import (
    DropLast,
    Karras,
    Leading,
    Linear,
    LogSNR,
    Shifted,
    Spacing,
    StopAtFirst,
    Trailing,
)
from vdm_jax.diffusion.training_times import (
    Discrete,
    LogitNormal,
    LogNormalSigma,
    Mode,
    Noise,
    ShiftedUniform,
    TimeSampler,
    Uniform,
)
from vdm_jax.diffusion.unipc import UniPC
from vdm_jax.evals.feature_distance.protocol import FeatureDistance
from vdm_jax.evals.frame_prediction import FramePrediction
from vdm_jax.evals.paired import Paired
from vdm_jax.evals.physics_iq.protocol import PhysicsIQ
from vdm_jax.evals.physics_suite import PhysicsSuite
from vdm_jax.evals.protocol import ProtocolConfig, UsualProtocol
from vdm_jax.evals.published import PUBLISHED
from vdm_jax.evals.recall import Recall
from vdm_jax.evals.reconstruction import Reconstruction as ReconstructionProtocol
from vdm_jax.evals.temporal.protocol import Temporal
from vdm_jax.evals.worlds.ball_physics import BallPhysics
from vdm_jax.evals.worlds.collisions import CollisionPhysics
from vdm_jax.evals.worlds.pan import PanPhysics
from vdm_jax.evals.worlds.phyworld import PhyWorldVelocityError
from vdm_jax.evals.worlds.shadows import ShadowPhysics
from vdm_jax.models.conv_lstm import ConvLSTMConfig
from vdm_jax.models.dit import VideoDiTConfig
from vdm_jax.nn.config import NetworkConfig
from vdm_jax.text.encoder import NoText, TextEncoder
from vdm_jax.text.hashing import Hashing
from vdm_jax.text.stored import Stored
from vdm_jax.train.optimizers import AdamW, Lion, Muon, Optimizer

# The order of a table is that of lists in messages and of docs/config.md.

MODELS = {
    'video_dit': VideoDiTConfig,
    'conv_lstm': ConvLSTMConfig,
    'image_vae': ImageVAEConfig,
    'video_vae': VideoVAEConfig,
}
PROCESSES = {'ddpm': DDPM, 'logsnr_cosine': LogSNRCosine, 'edm': EDM, 'rectified_flow': RectifiedFlow}
TIMES = {
    'uniform': Uniform,
    'discrete': Discrete,
    'logit_normal': LogitNormal,
    'mode': Mode,
    'shifted': ShiftedUniform,
    'log_normal_sigma': LogNormalSigma,
    'noise': Noise,
}
WEIGHTINGS = {
    'constant': Constant,
    'min_snr': MinSNR,
    'truncated': Truncated,
    'sigmoid': Sigmoid,
    'edm': EDMWeight,
    'velocity': Velocity,
    'fused_min_snr': FusedMinSNR,
}
SAMPLERS = {
    'ancestral': Ancestral,
    'ddim': DDIM,
    'euler': Euler,
    'heun': Heun,
    'stochastic_heun': StochasticHeun,
    'dpmpp_2m': DPMSolverPP2M,
    'dpmpp_2m_sde': DPMSolverPP2MSDE,
    'unipc': UniPC,
}
SPACINGS = {
    'trailing': Trailing,
    'leading': Leading,
    'linear': Linear,
    'karras': Karras,
    'logsnr': LogSNR,
    'shifted': Shifted,
    'drop_last': DropLast,
    'stop_at_first': StopAtFirst,
}
SOURCES = {
    'bouncing_balls': BouncingBalls,
    'bucketed': Bucketed,
    'colliding_balls': CollidingBalls,
    'joint_images': JointImages,
    'mixture': Mixture,
    'moving_mnist': MovingMNIST,
    'shadowed_balls': ShadowedBalls,
    'panned_balls': PannedBalls,
    'phyworld': PhyWorld,
    'records': Records,
    'video_folder': VideoFolder,
    'synthetic': Synthetic,
    'tfds': Tfds,
}
OPTIMIZERS = {'adamw': AdamW, 'lion': Lion, 'muon': Muon}
CODECS = {'identity': Identity, 'sd_vae': ImageVAECodec, 'video_vae': VideoVAECodec}
TEXT_ENCODERS = {'none': NoText, 'hashing': Hashing, 'stored': Stored}
PROTOCOLS: dict[str, type[ProtocolConfig]] = {
    'usual': UsualProtocol,
    'ball_physics': BallPhysics,
    'collision_physics': CollisionPhysics,
    'frame_prediction': FramePrediction,
    'shadow_physics': ShadowPhysics,
    'pan_physics': PanPhysics,
    'phyworld_velocity_error': PhyWorldVelocityError,
    'recall': Recall,
    'reconstruction': ReconstructionProtocol,
    'paired': Paired,
    'temporal': Temporal,
    'physics_iq': PhysicsIQ,
    'physics': PhysicsSuite,
    'feature_distance': FeatureDistance,
    **PUBLISHED,
}

# By the annotation of the fields that hold such a group.
CHOICES: dict[Any, Choice] = {
    NetworkConfig: Choice('name', MODELS),
    Process: Choice('name', PROCESSES),
    TimeSampler: Choice('name', TIMES),
    Weighting: Choice('name', WEIGHTINGS),
    Spacing: Choice('name', SPACINGS),
    Sampler: Choice('name', SAMPLERS),
    Source: Choice('source', SOURCES),
    Codec: Choice('name', CODECS),
    TextEncoder: Choice('name', TEXT_ENCODERS),
    Optimizer: Choice('name', OPTIMIZERS),
    ProtocolConfig: Choice('name', PROTOCOLS),
}
