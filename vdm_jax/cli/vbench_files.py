"""The folder of videos that VBench evaluates (Vchitect/VBench at 45e79ec): which name each video has there.

VBench looks a video up by its prompt and by which of the prompt's five it is: PROMPT-0.mp4 to PROMPT-4.mp4, and nothing
else in the folder, as it takes the ending of whichever file the system lists first. A prompt that can be no file's name
(with a slash, control characters, or too long) is in none of its own lists; such videos have another name, and the file
of prompts, {file: prompt}, has theirs for `evaluate.py --mode=custom_input --prompt_file`.
"""

import collections
import json
import re
from collections.abc import Iterable, Mapping, Sequence

from vdm_jax.cli.outputs import LONGEST_NAME
from vdm_jax.errors import UserError
from vdm_jax.files import digest_json

FOLDER = 'vbench'
PROMPTS = 'vbench_prompts.json'
PER_PROMPT = 5  # videos
ENDING = '.mp4'


def name_file(prompt: str, index: int) -> str:
    """Return the path of a prompt's video number `index` in the folder of samples."""
    ending = f'-{index}{ENDING}'
    longest = LONGEST_NAME - len(ending)
    name = re.sub(r'[/\x00-\x1f\x7f]', '_', prompt)
    if name != prompt or len(name.encode()) > longest:
        # With digits of the prompt's own, as two that differ in a slash are two.
        digits = f'_{digest_json(prompt)[:8]}'
        name = name.encode()[: longest - len(digits)].decode(errors='ignore') + digits
    return f'{FOLDER}/{name}{ending}'


def list_prompts(lines: Iterable[Mapping[str, object]]) -> dict[str, str]:
    """Return {path in the folder of samples: text} of the files of prompts, for lines of an index."""
    by_file: dict[str, dict[str, object]] = {}
    for line in lines:
        folder, _, name = str(line['file']).rpartition('/')
        by_file.setdefault(folder.removesuffix(FOLDER) + PROMPTS, {})[name] = line['prompt']
    return {file: json.dumps(names, indent=1, ensure_ascii=False) + '\n' for file, names in by_file.items()}


def check_prompts(prompts: Sequence[str]) -> None:
    """Check that each prompt is another one, as videos are called by them.

    Raises:
      UserError: There are no prompts, or one comes twice.
    """
    if not prompts:
        raise UserError(f'--format={FOLDER}: videos are called by their prompts; want --prompt=TEXT or --prompts=FILE')
    prompt, count = collections.Counter(prompts).most_common(1)[0]
    if count > 1:
        raise UserError(
            f'--format={FOLDER}: --prompt={prompt!r:.60} comes {count} times; videos are called by it, so give it once'
        )
