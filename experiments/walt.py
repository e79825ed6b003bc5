r"""W.A.L.T on UCF-101 and Kinetics-600: 17 frames of 128x128 pixels as latents of 5x16x16x8.

    python -m vdm_jax train --config=experiments/walt.py --workdir=RUN
    python -m vdm_jax train --config=experiments/walt.py:dataset=k600 --workdir=RUN
    python -m vdm_jax train --config=experiments/walt.py:data=videos --config.data.path=DIR \
        --config.codec.path=VAE --workdir=RUN

Arguments, as in walt.py:dataset=k600:

    dataset  ucf101 (default; 101 classes, size=XL) or k600 (5 context frames, which are 2 of latents; size=L)
    size     S, B, L or XL
    data     latents (default): synthetic noise of the latents' shape, to plan and time a run; it trains nothing.
             videos: a folder of videos, for ucf101 with a folder a class

W.A.L.T's causal tokenizer is not public: VAE is the run directory of one of our own
(video_vae.py:size=paper,data=folder), of the same shape; its quality is not known. Set config.codec.mean and std, of
each channel of its latents: FVD on UCF-101 is 60.7 with and 67.9 without (the paper's ablation).

From the paper: blocks over windows of 1x16x16 and 5x8x8 latents in turn, patches of 1, adaLN-LoRA of rank 2, qk-norm,
1,000 linear steps rescaled to zero terminal SNR, v-prediction, self-conditioning in 0.9 of the examples, DDIM of 50
steps, no guidance, AdamW 5e-4 with a cosine schedule, batch and steps.

Differences: bfloat16 products; learned positions that are added, and no relative ones; the EMA's decay; no warm-up;
clipping at 1; context frames are clean at t = 0, where the paper has them beside the noisy ones in the channels; the
steps of k600 are 360 of its epochs as we count them.

Paper: W.A.L.T (Gupta et al. 2023, arXiv:2312.06662).
Table: its comparison on both sets, recipe in 8.
Topology: v5p:2x4x4
Hardware: 32 chips of TPU v5p for XL, in docs/plans.md, never run.
Expected: FVD at 128 px: UCF-101 with classes, no guidance: XL 36, L 46; Kinetics-600 5 to 11: L 3.3 (the paper's own
tokenizer).
Status: untested.
"""

from vdm_jax.config import ConfigDict, parse_arg

CLASSES = {'ucf101': 101, 'k600': 0}
SIZE = {'ucf101': 'XL', 'k600': 'L'}
BATCH = {'ucf101': 256, 'k600': 512}
STEPS = {'ucf101': 60_000, 'k600': 360 * 390_000 // 512}  # epochs of about 390,000 videos
CONTEXT = {'ucf101': 0, 'k600': 2}  # frames of latents


def get_config(arg: str | None = None) -> ConfigDict:
    """Return the config; `arg` is the text behind the colon of --config=FILE:ARG, explained above."""
    args = parse_arg(
        arg,
        dataset=tuple(CLASSES),
        size=('paper', 'XL', 'L', 'B', 'S'),
        data=('latents', 'videos'),
        batch=0,
        steps=0,
        fsdp=1,
    )
    dataset = args.dataset
    videos = args.data == 'videos'
    config = ConfigDict()
    if videos:
        use_videos(config, dataset)
    else:
        config.data = ConfigDict(
            {'source': 'synthetic', 'frames': 5, 'pixels': 16, 'channels': 8, 'classes': CLASSES[dataset]}
        )
    config.model = ConfigDict(
        {
            'size': SIZE[dataset] if args.size == 'paper' else args.size,
            'patch': 1,
            'layout': 'windows',
            'windows': ('1x16x16', '5x8x8'),
            'position': 'learned',
            'qk_norm': True,
            'modulation': 'adaln_lora',
            'lora_rank': 2,
            'self_condition': True,
            'classes': CLASSES[dataset],
            'dtype': 'bfloat16',
        }
    )
    config.diffusion = ConfigDict(
        {
            # Without this the last step still shows a little of the video, which sampling does not have to show.
            'process': {'name': 'ddpm', 'schedule': 'linear', 'steps': 1000, 'zero_terminal_snr': True},
            'prediction': 'v',
            'self_conditioning': 0.9,
            'context': CONTEXT[dataset],
            # Sampling is not guided.
            'condition_dropout': 0.0,
        }
    )
    # Trailing: a walk that does not begin at t = 1 would begin from noise that the network never saw alone.
    config.sampler = ConfigDict({'name': 'ddim', 'steps': 50, 'spacing': 'trailing'})
    config.optim = ConfigDict({'name': 'adamw', 'learning_rate': 5e-4, 'schedule': 'cosine'})
    config.train = ConfigDict(
        {'steps': args.steps or STEPS[dataset], 'batch_size': args.batch or BATCH[dataset], 'checkpoint_every': 5000}
    )
    config.ema = ConfigDict({'decays': (0.9999,)})
    config.mesh = ConfigDict({'data': -1, 'fsdp': args.fsdp})
    config.evaluate = ConfigDict({'batch_size': 64})
    # The protocol counts frames as the clips have them: of videos 5, of which the VAE makes 2.
    if CONTEXT[dataset]:
        frames = 5 if videos else CONTEXT[dataset]
        config.evaluate.protocol = ConfigDict({'name': 'frame_prediction', 'context': frames})
    return config


def use_videos(config: ConfigDict, dataset: str) -> None:
    """Read a folder of videos, which a VAE of our own encodes."""
    label = 'folder' if CLASSES[dataset] else 'none'
    config.data = ConfigDict({'source': 'video_folder', 'frames': 17, 'pixels': 128, 'label': label})
    # As video_vae.py:size=paper makes it.
    vae = {'latent': 8, 'time': 4, 'space': 8, 'dtype': 'bfloat16'}
    config.codec = ConfigDict({'name': 'video_vae', 'model': vae, 'sample': True})
