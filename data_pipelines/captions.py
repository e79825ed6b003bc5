"""What a caption is worth by its words alone: its length, whether it tells of motion, whether it is prose at all."""

import functools
import re
import unicodedata

# English verbs of motion and change, in the classes of Levin, English Verb Classes and Alternations (1993): of motion
# (51), putting and throwing (9, 17), change of state and place (45, 48), body movement (49, 40), fire, light and water
# (43, 45). Those that mostly stand for nouns or for stillness in captions (building, close, show, sit, stand) are out;
# of those after the bar, which are nouns in their plain form, only `raining` and `rained` count, not `rain` or `rains`.
VERBS, NOUNS = """
move go come walk run jog sprint march stroll wander stride hike climb crawl creep sneak tiptoe stumble limp
jump leap hop skip bounce vault dive swim float drift sail row paddle surf fly soar glide hover flap flutter
ride drive cycle skate ski sled race chase follow pass enter leave arrive depart approach return travel roam
turn rotate spin twist twirl swirl whirl revolve roll flip tumble swing sway wobble shake tremble vibrate shiver
rise fall drop descend ascend slide slip skid push pull drag lift raise lower carry throw toss hurl catch
hit kick punch strike slap dribble shoot launch pour spill splash drip flow stream gush sprinkle
blow burn blaze flicker sparkle explode burst erupt collapse crumble crash collide smash shatter break
rip open shut lock unlock unfold wrap unwrap tie untie cut chop slice peel stir mix whisk knead
grow shrink expand contract swell blossom wither melt freeze thaw boil evaporate dissolve fade appear disappear
vanish emerge change transform become spread scatter gather assemble dance wave nod stretch bend kneel crouch
hug kiss shrug wink blink chew eat drink lick bite sip smile laugh cry yell shout sing clap play knit sew
wipe sweep scrub wash dig stack load unload fill unpack zoom tilt circle accelerate start begin reach grab grasp
snatch give take wrestle fight wag graze gallop trot
| rain snow fire land hand place form pan rock sink spray flash crack tear fold cross trip bow brush plant water pack
bloom swallow orbit track slow stop steam smoke tap bat type empty put
""".split('|')
IRREGULAR = {
    **{'go': 'went gone', 'come': 'came', 'run': 'ran', 'swim': 'swam swum', 'fly': 'flew flown', 'ride': 'rode ridden'},
    **{'drive': 'drove driven', 'leave': 'left', 'spin': 'spun', 'swing': 'swung', 'shake': 'shook shaken'},
    **{'rise': 'risen', 'fall': 'fell fallen', 'sink': 'sank sunk', 'slide': 'slid', 'throw': 'threw thrown'},
    **{'catch': 'caught', 'hit': 'hit', 'strike': 'struck', 'shoot': 'shot', 'blow': 'blew blown', 'burst': 'burst'},
    **{'break': 'broke broken', 'tear': 'tore torn', 'grow': 'grew grown', 'shrink': 'shrank shrunk'},
    **{'freeze': 'froze frozen', 'become': 'became', 'spread': 'spread', 'bend': 'bent', 'kneel': 'knelt'},
    **{'creep': 'crept', 'leap': 'leapt', 'dive': 'dove', 'eat': 'ate eaten', 'drink': 'drank drunk', 'bite': 'bit'},
    **{'sing': 'sang sung', 'sweep': 'swept', 'dig': 'dug'},
    **{'begin': 'began begun', 'give': 'gave given', 'take': 'took taken'},
    **{'cut': 'cut', 'shut': 'shut', 'fight': 'fought', 'stride': 'strode', 'swell': 'swollen', 'tie': 'tying', 'untie': 'untying', 'sew': 'sewn'},
}
VOWELS = 'aeiou'


def of_caption(text: str) -> dict[str, float]:
    """caption_words, caption_motion and caption_symbols of a text (data_pipelines.scores.SCORES).

    Words are what lies between spaces, so that a sentence of a language without them counts as one.
    """
    words = [word for word in map(_bare, text.lower().split()) if word]
    told = sum(word in _forms() for word in words)
    signs = [sign for sign in text if not sign.isspace()]
    return {
        'caption_words': float(len(words)),
        'caption_motion': told / max(len(words), 1),
        'caption_symbols': sum(not _is_letter(sign) for sign in signs) / max(len(signs), 1),
    }


def _bare(word):
    """The word without the signs around it, '' where there is no letter or number in it."""
    return re.sub(r'^[^\w]+|[^\w]+$', '', word) if any(sign.isalnum() for sign in word) else ''


def _is_letter(sign):
    return unicodedata.category(sign)[0] in 'LM'  # marks are parts of letters, as the vowels of Hindi


@functools.cache
def _forms() -> frozenset[str]:
    """All forms of the verbs: walk, walks, walked, walking; run, runs, running, ran; but of rain raining and rained."""
    plain = {form for verb in VERBS.split() for form in (*_present(verb), *_others(verb))}
    return frozenset(plain | {form for verb in NOUNS.split() for form in _others(verb)})


def _present(verb):
    yield verb
    if verb.endswith('y') and verb[-2] not in VOWELS:
        yield verb[:-1] + 'ies'
    else:
        yield verb + ('es' if verb.endswith(('s', 'sh', 'ch', 'x', 'z', 'o')) else 's')


def _others(verb):
    yield from IRREGULAR.get(verb, '').split()
    if verb.endswith('y') and verb[-2] not in VOWELS:
        yield from (verb[:-1] + 'ied', verb + 'ing')
        return
    stem = verb[:-1] if verb.endswith('e') and not verb.endswith('ee') else verb
    yield from (stem + 'ing', stem + 'ed')
    if verb[-1] not in VOWELS + 'wxy' and verb[-2] in VOWELS and verb[-3:-2] not in VOWELS:
        yield from (verb + verb[-1] + 'ing', verb + verb[-1] + 'ed')  # running; `openning` harms nobody
