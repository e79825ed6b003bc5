"""The texts of --prompt and --prompts."""

import argparse
from typing import Any

from vdm_jax.cli.outputs import check_utf8
from vdm_jax.errors import UserError
from vdm_jax.files import parse_json, read_bytes

LARGEST = 2**26  # bytes of a file of prompts
KEY = 'prompt_en'  # of VBench's lists


def read_prompts(args: argparse.Namespace) -> list[str]:
    """Return the texts of --prompt, or those of --prompts, each of a file once; none where neither is set.

    Raises:
      UserError: Both are set, or the file is none.
    """
    if args.prompts is None:
        for prompt in args.prompt or ():
            check_utf8(prompt, '--prompt')
        return list(args.prompt or ())
    if args.prompt:
        raise UserError(f'--prompts={args.prompts}: give it or --prompt, not both')
    return read_file(args.prompts)


def read_file(path: str) -> list[str]:
    """Return the texts of a file: one a line, or of .json [{"prompt_en": TEXT, …}, …] as VBench_full_info.json is.

    Raises:
      UserError: It cannot be read, is neither, or holds none.
    """
    called = f'--prompts={path}'
    content = read_bytes(path, LARGEST, called)
    if path.lower().endswith('.json'):
        texts = [read_entry(entry, called) for entry in read_list(content, called)]
    else:
        try:
            lines = content.decode('utf-8-sig').splitlines()
        except UnicodeDecodeError:
            raise UserError(f'{called}: is not UTF-8; want a prompt a line') from None
        texts = [line.strip() for line in lines if line.strip()]
    if not texts:
        raise UserError(f'{called}: holds no prompt; want one a line')
    # Of VBench's 946 two come twice, once for each of two dimensions, which share the videos.
    return list(dict.fromkeys(texts))


def read_list(content: bytes, called: str) -> list[Any]:
    """Return the entries of a list in JSON.

    Raises:
      UserError: It is none.
    """
    entries = parse_json(content, called)
    if not isinstance(entries, list):
        raise UserError(f'{called}: want a list, [{{"{KEY}": TEXT}}, …], as VBench_full_info.json has it')
    return entries


def read_entry(entry: Any, called: str) -> str:
    """Return the text of an entry.

    Raises:
      UserError: It has none.
    """
    text = entry.get(KEY) if isinstance(entry, dict) else None
    if not isinstance(text, str):
        raise UserError(f'{called}: {entry!r:.60} has no text {KEY!r}')
    check_utf8(text, called)
    return text
