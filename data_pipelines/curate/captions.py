"""Scores of a caption by its words: length, share of words of motion, share of characters that are no letters."""

import functools
import re
import unicodedata
from collections.abc import Iterator

# English verbs of motion and change, in the classes of Levin, English Verb Classes and Alternations (1993): of motion
# (51), putting and throwing (9, 17), change of state and place (45, 48), body movement (49, 40), fire, light and water
# (43, 45). Those that mostly stand for nouns or for stillness in captions (building, close, show, sit, stand) are out;
# of those after the bar, which are nouns in their plain form, only `raining` and `rained` count, not `rain` or `rains`.
VERBS, NOUNS = """
move go come walk run jog sprint march stroll wander stride hike climb crawl creep sneak tiptoe stumble limp
jump leap hop skip bounce vault dive swim float drift sail paddle surf fly soar glide hover flap flutter
ride drive cycle skate ski sled race chase follow pass enter leave arrive depart approach return travel roam
turn rotate spin twist twirl swirl whirl revolve roll flip tumble swing sway wobble shake tremble vibrate shiver
rise fall drop descend ascend slide slip skid push pull drag lift raise lower carry throw toss hurl catch
hit kick punch strike slap dribble shoot launch pour spill splash drip flow stream gush sprinkle
blow burn blaze flicker sparkle explode burst erupt collapse crumble crash collide smash shatter break
rip open shut lock unlock unfold wrap unwrap untie cut chop slice peel stir mix whisk knead
grow shrink expand contract swell blossom wither melt freeze thaw boil evaporate dissolve fade appear disappear
vanish emerge change transform become spread scatter gather assemble dance wave nod stretch bend kneel crouch
hug kiss shrug wink blink chew eat drink lick bite sip smile laugh cry yell shout sing clap play knit sew
wipe sweep scrub wash dig stack load unload fill unpack zoom tilt circle accelerate start begin reach grab grasp
snatch give take wrestle fight wag graze gallop trot
| rain snow fire land hand place form pan rock sink spray flash crack tear fold cross trip bow brush plant water pack
bloom swallow orbit row tie track slow stop steam smoke tap bat type empty put
""".split('|')
IRREGULAR = """
went gone came ran swam swum flew flown rode ridden drove driven spun swung shook shaken risen fell fallen sank sunk
slid threw thrown caught struck shot blew blown broke broken tore torn grew grown shrank shrunk froze frozen became bent
knelt crept leapt ate eaten drank drunk bit sang sung swept dug began begun gave given took taken fought strode swollen
tying untying sewn
""".split()
VOWELS = 'aeiou'


def score_caption(text: str) -> dict[str, float]:
    """Return caption_words, caption_motion and caption_symbols of a text (data_pipelines.curate.scores.SCORES).

    Words are what lies between spaces, so that a sentence of a language without them counts as one.
    """
    words = [word for word in map(_strip_symbols, text.lower().split()) if word]
    motion_words = sum(word in _motion_forms() for word in words)

    characters = [character for character in text if not character.isspace()]
    symbols = sum(not _is_letter(character) for character in characters)

    return {
        'caption_words': float(len(words)),
        'caption_motion': motion_words / max(len(words), 1),
        'caption_symbols': symbols / max(len(characters), 1),
    }


def _strip_symbols(word: str) -> str:
    """Remove the symbols around a word, all of it where it holds no letter or digit."""
    if not any(character.isalnum() for character in word):
        return ''
    return re.sub(r'^[^\w]+|[^\w]+$', '', word)


def _is_letter(character: str) -> bool:
    # Marks (M) are parts of letters, such as the vowels of Hindi.
    return unicodedata.category(character)[0] in 'LM'


@functools.cache
def _motion_forms() -> frozenset[str]:
    """Return all forms of the verbs: walk, walks, walked, walking; of NOUNS only those that are no nouns."""
    forms = set(IRREGULAR)
    for verb in VERBS.split():
        forms.update(_present_forms(verb))
        forms.update(_past_and_progressive(verb))
    for verb in NOUNS.split():
        forms.update(_past_and_progressive(verb))
    return frozenset(forms)


def _present_forms(verb: str) -> Iterator[str]:
    """Yield walk, walks."""
    yield verb
    if _ends_in_consonant_y(verb):
        yield verb[:-1] + 'ies'
    elif verb.endswith(('s', 'sh', 'ch', 'x', 'z', 'o')):
        yield verb + 'es'
    else:
        yield verb + 's'


def _past_and_progressive(verb: str) -> Iterator[str]:
    """Yield walking, walked; with the last letter doubled as well where it may be."""
    if _ends_in_consonant_y(verb):
        yield verb[:-1] + 'ied'
        yield verb + 'ing'
        return

    # Moving, moved; but seeing.
    drops_e = verb.endswith('e') and not verb.endswith('ee')
    stem = verb[:-1] if drops_e else verb
    yield stem + 'ing'
    yield stem + 'ed'

    # As in running. Which verbs do so hangs on their stress, which is not known; `openning` harms nobody.
    if verb[-1] not in VOWELS + 'wxy' and verb[-2] in VOWELS and verb[-3:-2] not in VOWELS:
        yield verb + verb[-1] + 'ing'
        yield verb + verb[-1] + 'ed'


def _ends_in_consonant_y(verb: str) -> bool:
    return verb.endswith('y') and verb[-2] not in VOWELS
