"""The table of options: each one once, however many commands take it."""

import argparse
from typing import Any

from vdm_jax.config.ranges import Seed, refusal

# In place of the decay of an average: the parameters themselves.
RAW = 'raw'


def read_seed(text: str) -> int:
    """Return the seed of --seed, for argparse."""
    number = int(text)
    if reason := refusal(Seed, number):
        raise argparse.ArgumentTypeError(reason)
    return number


def read_decay(text: str) -> float | str:
    """Return the decay of --ema, in [0, 1), or RAW, for argparse."""
    if text.strip().lower() == RAW:
        return RAW
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < 1:
        raise argparse.ArgumentTypeError(f'{text} is no decay: want a number from 0 to below 1, or {RAW}')
    # -0.0 becomes 0.0, which is how averages are named.
    return number + 0.0


def read_step(text: str) -> int | str:
    """Return the number of --step, or 'best', for argparse."""
    if text == 'best':
        return text
    # Python's int would take '+3', '1_000' and digits of other scripts.
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise argparse.ArgumentTypeError(f'{text}: want the number of a step, or best')
    return int(text)


# Arguments of argparse's add_argument; the help of --out is each command's own (outputs.OUT).
OPTIONS: dict[str, dict[str, Any]] = {
    '--config': {
        'metavar': 'FILE[:ARGS]',
        'help': 'experiment file; change keys with --config.a.b=v',
    },
    '--workdir': {'metavar': 'DIR', 'help': 'run directory, local or gs://…'},
    '--from': {
        'metavar': 'RUN|FILE',
        'dest': 'origin',
        'help': 'run directory, or weights that export wrote, whose averages the run begins with at step 0',
    },
    '--source': {'metavar': 'NAME', 'help': 'whose weights: dit, sit, latte, latte_t2v, sd_vae (docs/baselines.md)'},
    '--checkpoint': {
        'metavar': 'FILE|NAME',
        'help': 'safetensors, a directory of diffusers, .pt with the extra convert, or a name of `weights`',
    },
    '--entry': {'metavar': 'NAME', 'help': "which network of a trainer's .pt: ema, taken where there is one, or model"},
    '--heads': {'type': int, 'help': 'of attention, where the sizes are none of the published ones'},
    '--allow-missing': {'action': 'store_true', 'help': 'let what is missing or of another shape start fresh'},
    '--weights': {'metavar': 'FILE', 'help': 'weights that export wrote, instead of a run or beside it'},
    '--compare': {'action': 'append', 'metavar': 'RUN,…', 'help': 'run directories to show beside it'},
    '--batch-size': {'type': int, 'help': 'videos made at once at most; config.evaluate.batch_size where not given'},
    '--format': {
        'metavar': 'NAME,…',
        'default': 'grid',
        'help': 'grid (one mp4, gif and strip of all), mp4, gif, npy, frames (one a video, and samples.jsonl), '
        'vbench (mp4 named as VBench wants it)',
    },
    '--fps': {'type': float, 'help': 'frames a second of what is written; that of the clips where known, else 8'},
    '--num': {'type': int, 'help': 'how many videos (16; with --format=vbench 5 of each prompt)'},
    '--size': {'metavar': 'HEIGHTxWIDTH', 'help': 'of the videos, or one number; that of the clips where not given'},
    '--steps': {'type': int, 'help': 'sampler steps, or steps measured by benchmark'},
    '--guidance': {'type': float, 'help': 'classifier-free guidance, 1 = none'},
    '--label': {'type': int, 'help': 'class of every video; all in turn where not given'},
    '--prompt': {'action': 'append', 'metavar': 'TEXT', 'help': 'what is to be seen; may be given several times'},
    '--prompts': {
        'metavar': 'FILE',
        'help': 'the same of a file: a text with one a line, or the VBench_full_info.json of VBench',
    },
    '--negative': {'metavar': 'TEXT', 'help': 'what is not to be seen, where there is guidance'},
    '--scalars': {
        'metavar': 'NAME=VALUE,…',
        'help': 'numbers that the network is conditioned on, such as fps=8; unknown where not given',
    },
    '--seed': {'type': read_seed, 'default': 0, 'help': 'seed of the noise (0)'},
    '--step': {'type': read_step, 'help': 'checkpoint, or best (config.checkpoint.best); the newest where not given'},
    '--ema': {
        'type': read_decay,
        'metavar': 'DECAY',
        'help': 'which average to take, or raw: the parameters themselves; the first of the config where not given',
    },
    '--allow-other-codec': {
        'action': 'store_true',
        'help': 'decode with another codec than the network was trained with; scores name both',
    },
    '--dtype': {
        'choices': ('float16', 'bfloat16', 'float32'),
        'default': 'float16',
        'help': 'of the numbers in the file: float16, half the bytes of float32 and the most digits of the two halves; '
        'refused where a number is beyond it, for which there are bfloat16 and float32',
    },
    '--protocol': {
        'metavar': 'NAME',
        'help': "protocol; that of config.evaluate.protocol where not given, else the source's usual one",
    },
    '--real': {'metavar': 'PATH', 'help': 'real videos: a folder, a video, or a file of arrays or of features'},
    '--fake': {'metavar': 'PATH', 'help': 'videos that are scored beside those of --real'},
    '--vbench': {
        'metavar': 'PATH',
        'help': "results of VBench's own evaluation, a file or a directory of some, to write as a score",
    },
    '--topology': {'metavar': 'NAME', 'help': "machine, v5p:4x4x4 or cpu:8; the experiment's own where not given"},
    '--slices': {'type': int, 'default': 1, 'help': 'how many of them, joined by the slower network (1)'},
    '--search': {
        'action': 'store_true',
        'help': 'look for the mesh and rematerialisation that fit, 6 compiles at most',
    },
    '--json': {'action': 'store_true', 'help': 'print JSON'},
    '--distributed': {'action': 'store_true', 'help': 'one of several processes: jax finds out which (docs/launch.md)'},
    '--require': {'action': 'store_true', 'help': 'exit with 1 if the protocol has a bar and the run misses it'},
}

# What a command takes without an option's name, in its order.
WORDS: dict[str, dict[str, Any]] = {
    'action': {
        'nargs': '?',
        'choices': ('list', 'fetch', 'verify'),
        'default': 'list',
        'help': 'list all (the default), fetch some, or verify those that are here',
    },
    'names': {'nargs': '*', 'metavar': 'NAME', 'help': 'of weights, as list has them'},
}


def is_set(args: argparse.Namespace, option: str) -> bool:
    """Return whether an option without a default was given, whatever its value: 0 is one."""
    value = vars(args)[destination_of(option)]
    return value is not None and value is not False


def destination_of(option: str) -> str:
    """Return the attribute that argparse keeps an option in: 'batch_size' of '--batch-size', 'origin' of '--from'."""
    name = option.removeprefix('--').replace('-', '_')
    return str(OPTIONS.get(option, {}).get('dest', name))


def option_of(destination: str) -> str:
    """Return the option that argparse keeps in an attribute: '--batch-size' of 'batch_size', '--from' of 'origin'."""
    return next((option for option in OPTIONS if destination_of(option) == destination), f'--{destination}')
